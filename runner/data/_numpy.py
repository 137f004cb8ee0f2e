"""NumPy's .npz and .npy files, which may hold numbers and text but no Python objects."""

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


def read_npy(path: Path, key: str, brief: bool = False) -> Array:
    """Return the one array of an .npy file. Raises ConfigError for any other file.

    key: of the configuration, for messages.
    brief: read the shape and the type alone, and return an array without memory of its own.
    """
    with _open(path, key) as file:
        if brief:
            return _try(partial(_header, file), repr(str(path)), key)  # type: ignore[no-any-return]
        if file.read(len(MAGIC)) == MAGIC:  # the header of a file of a few bytes may promise terabytes
            file.seek(0)
            _check_size(_try(partial(_header, file), repr(str(path)), key), "the array", path, key)
        file.seek(0)
        array = _load(file, path, key)
    if not isinstance(array, np.ndarray):
        raise ConfigError(key, f"{str(path)!r} holds several arrays; expected one, in .npy; data.path reads .npz")
    return array


def read_npz(
    path: Path, key: str, needed: Iterable[str], further: Iterable[str], brief: Iterable[str] = ()
) -> dict[str, Array]:
    """Return the `needed` arrays of an .npz file, and the `further` ones that it has, by name.

    key: of the configuration, for messages.
    brief: arrays of which only shape and type are read.
    Raises ConfigError where a needed one is missing, where one has a name like x_val, which would be left out without a
    word, and where one cannot be read or is larger than the memory.
    """
    with _open(path, key) as file:
        archive = _load(file, path, key)
        if isinstance(archive, np.ndarray):
            raise ConfigError(
                key, f"{str(path)!r} is one array; expected an .npz file, or two .npy files: data.x=x.npy data.y=y.npy"
            )
        names = _check_names(path, key, archive.files, list(needed), list(further))
        for name in names:  # a small archive may hold zeros without end
            _check_size(_try(partial(_member, archive.zip, name), f"{name} in {str(path)!r}", key), name, path, key)
        reads = {n: partial(_member, archive.zip, n) if n in brief else partial(archive.__getitem__, n) for n in names}
        return {name: _try(read, f"{name} in {str(path)!r}", key) for name, read in reads.items()}


def _check_size(array: Array, name: str, path: Path, key: str) -> None:
    available = memory(torch.device("cpu"))
    if array.nbytes > available:
        raise ConfigError(
            key, f"{name} in {str(path)!r} takes {size(array.nbytes)}, and there are {size(available)}; save less of it"
        )


def _member(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        return _header(file)


def _header(file: IO[bytes]) -> Array:
    """Return an array of the shape and type that an .npy file begins with, whose numbers all are one zero."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    return np.broadcast_to(np.zeros((), dtype), shape)


def _open(path: Path, key: str) -> BinaryIO:
    return _try(partial(path.open, "rb"), repr(str(path)), key)  # type: ignore[no-any-return]


def _load(file: BinaryIO, path: Path, key: str) -> Any:
    # From an open file: given a name, NumPy leaves a broken archive open. No pickles, which can run code.
    return _try(partial(np.load, file, allow_pickle=False), repr(str(path)), key)


def _check_names(path: Path, key: str, names: list[str], needed: list[str], further: list[str]) -> list[str]:
    """Return the names of the arrays to read."""
    for name in needed:
        if name not in names:
            raise ConfigError(key, f"{str(path)!r} holds {names} and no {name!r}{did_you_mean(name, names)}")
    expected = [*needed, *further]
    for name in names:
        if name.startswith(("x_", "y_")) and name not in expected:
            raise ConfigError(key, f"{str(path)!r} holds {name!r}; expected {expected}{did_you_mean(name, expected)}")
    return [name for name in expected if name in names]


def _try(read: Callable[[], Any], what: str, key: str) -> Any:
    """Return what `read` returns; raise its errors as a ConfigError about `what`."""
    try:
        return read()
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's advice for a file that it does not know is to load it as a pickle, and its error has no other mark.
        reason = "it is none of NumPy's files" if "load it unsafely" in str(error) else error
        raise ConfigError(
            key,
            f"{what} cannot be read ({reason}); expected arrays of numbers or text, without Python objects,"
            " as np.savez('xy.npz', x=x, y=y) and np.save('x.npy', x) write them",
        ) from error
