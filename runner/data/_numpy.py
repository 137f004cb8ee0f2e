"""Reading NumPy's .npz and .npy files, which may hold numbers and text but no Python objects."""

import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import torch

from runner.data._values import Array
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.memory import memory, size

MAGIC = np.lib.format.MAGIC_PREFIX


def read_npy(found: Path, key: str, brief: bool = False) -> Array:
    """The one array of an .npy file; brief: only its shape and type, as an array without memory of its own."""
    if brief:
        with _open(found, key) as file:
            return _try(partial(_header, file), repr(str(found)), key)  # type: ignore[no-any-return]
    with _open(found, key) as file:
        if file.read(len(MAGIC)) == MAGIC:  # a file of a few bytes may say that it holds terabytes
            file.seek(0)
            _check_size(_try(partial(_header, file), repr(str(found)), key), "the array", found, key)
        file.seek(0)
        held = _load(file, found, key)
    if not isinstance(held, np.ndarray):
        raise ConfigError(key, f"{str(found)!r} holds several arrays; expected one, in .npy; data.path reads .npz")
    return held


def read_npz(
    found: Path, key: str, needed: Iterable[str], further: Iterable[str], brief: Iterable[str] = ()
) -> dict[str, Array]:
    """The `needed` arrays of an .npz file and those `further` ones that it has; what is not x or y is not read.

    brief: arrays of which only shape and type are read.
    """
    with _open(found, key) as file:
        held = _load(file, found, key)
        if isinstance(held, np.ndarray):
            raise ConfigError(
                key, f"{str(found)!r} is one array; expected an .npz file, or two .npy files: data.x=x.npy data.y=y.npy"
            )
        names = _check_names(found, key, held.files, list(needed), list(further))
        for name in names:  # a small archive may hold zeros without end
            _check_size(_try(partial(_member, held.zip, name), f"{name} in {str(found)!r}", key), name, found, key)
        reads = {n: partial(_member, held.zip, n) if n in brief else partial(held.__getitem__, n) for n in names}
        return {name: _try(read, f"{name} in {str(found)!r}", key) for name, read in reads.items()}


def _check_size(array: Array, name: str, found: Path, key: str) -> None:
    there = memory(torch.device("cpu"))
    if array.nbytes > there:
        raise ConfigError(
            key, f"{name} in {str(found)!r} takes {size(array.nbytes)}, and there are {size(there)}; save less of it"
        )


def _member(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        return _header(file)


def _header(file: IO[bytes]) -> Array:
    """An array of the shape and type that an .npy file begins with, whose numbers all are one zero."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    return np.broadcast_to(np.zeros((), dtype), shape)


def _open(found: Path, key: str) -> BinaryIO:
    return _try(partial(found.open, "rb"), repr(str(found)), key)  # type: ignore[no-any-return]


def _load(file: BinaryIO, found: Path, key: str) -> Any:
    # From an open file: given a name, NumPy leaves a broken archive open. No pickles, which can run code.
    return _try(partial(np.load, file, allow_pickle=False), repr(str(found)), key)


def _check_names(found: Path, key: str, held: list[str], needed: list[str], further: list[str]) -> list[str]:
    for name in needed:
        if name not in held:
            raise ConfigError(key, f"{str(found)!r} holds {held} and no {name!r}{did_you_mean(name, held)}")
    known = [*needed, *further]
    for name in held:
        if name.startswith(("x_", "y_")) and name not in known:  # x_val would else be left unused without a word
            raise ConfigError(key, f"{str(found)!r} holds {name!r}; expected {known}{did_you_mean(name, known)}")
    return [name for name in known if name in held]


def _try(read: Callable[[], Any], what: str, key: str) -> Any:
    try:
        return read()
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's advice for what it does not know is to load it as a pickle.
        reason = "it is none of NumPy's files" if "load it unsafely" in str(error) else error
        raise ConfigError(
            key,
            f"{what} cannot be read ({reason}); expected arrays of numbers or text, without Python objects,"
            " as np.savez('xy.npz', x=x, y=y) and np.save('x.npy', x) write them",
        ) from error
