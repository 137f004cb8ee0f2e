"""Checkpoint files: a state_dict or a full model, with the SHA-256 of each file."""

import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterable, Iterator
from copy import copy as copy_of
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import runner
from runner.model import host
from runner.settings.errors import Failure, brief
from runner.settings.files import durable
from runner.training.state import packing

FILES = {"state_dict": "state_dict.pt", "model": "model.pt", "training": "training.pt"}
#: The files from each of which a model can be loaded.
MODELS = ("state_dict", "model")
DIGESTS = "sha256.json"


class CheckpointError(Failure):
    """A checkpoint that cannot be written; or not loaded, because it is damaged or belongs to another model."""


def save(
    folder: Path,
    model: nn.Module,
    format: str,
    training: dict[str, Any] | None = None,
    lasting: bool = True,
    packings: dict[str, tuple[memoryview, str]] | None = None,
) -> dict[str, str]:
    """Write the model's files into `folder` and return the SHA-256 of each by file name.

    format: "state_dict" (the parameters and buffers), "model" (the module itself), or "both".
    training: `Run.state_dict()`, which goes into `training.pt`.
    lasting: False for files that are delivered to a store and need not survive a power failure here.
    packings: of the model's files by name, as `packed` returns them; those that are missing are added.
    Raises CheckpointError when the files cannot be written.
    """
    kinds = list(MODELS) if format == "both" else [format]
    content: dict[str, Any] = {FILES[kind]: model for kind in kinds}
    if training is not None:
        content[FILES["training"]] = training
    digests, ready = {}, {} if packings is None else packings
    write = durable.write if lasting else durable.write_new
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in content.items():
            if (packing_and_digest := ready.get(name)) is None:
                packing_and_digest = packed(_usual(model.state_dict()) if name == FILES["state_dict"] else value)
            packing, digests[name] = packing_and_digest
            if packings is not None and value is not training:
                packings[name] = packing, digests[name]
            write(folder / name, packing)
        write(folder / DIGESTS, (json.dumps(digests, indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {durable.reason(error) or error}") from error
    return digests


def packed(value: Any) -> tuple[memoryview, str]:
    """Return the bytes of a file with `value`, tensors and plain values or a module, and their SHA-256."""
    content = packing.packed(value)
    return memoryview(content), hashlib.sha256(content).hexdigest()


def load_state_dict(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the parameters and buffers in `path`, on the CPU. No code in the file is run.

    sha256: of the file; None: that of `sha256.json` beside it, if there is one.
    Raises CheckpointError for a file that is missing, damaged or holds something else.
    """
    return _load(path, [], sha256)  # type: ignore[no-any-return]


def load_model(path: Path, classes: Iterable[type], sha256: str | None = None) -> nn.Module:
    """Return the model in `path`, on the CPU. No code in the file is run but that of `classes`.

    classes: of all modules in the model, such as `stack.classes` returns. sha256, errors: see `load_state_dict`.
    """
    model = _load(path, classes, sha256)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"{path}: holds {type(model).__name__}, expected a torch module")
    return model


def load_training(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Return the state that `save` has written as `training`. No code in the file is run."""
    return _load(path, [], sha256)  # type: ignore[no-any-return]


def fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load `weights` into the model. Raises CheckpointError if names or shapes are those of another model."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        _, *wrong = str(error).strip().splitlines()
        details = " ".join(line.strip() for line in wrong[:3])
        raise CheckpointError(f"the checkpoint belongs to another model: {details}") from error


def digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a state_dict's names, types, shapes and bytes: equal only for equal weights."""
    sha = hashlib.sha256()
    for name, tensor in state.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(host.content(tensor))
    return sha.hexdigest()


def copy(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers, on the CPU."""
    return {name: host.copied(tensor) for name, tensor in model.state_dict().items()}


def _usual(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state_dict whose images' weights (trainer.channels_last) lie in memory as everybody else's do."""
    usual = copy_of(state)
    usual.update((name, value.contiguous()) for name, value in state.items() if isinstance(value, Tensor))
    return usual


def _load(path: Path, classes: Iterable[type], sha256: str | None) -> Any:
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower() in ("1", "y", "yes", "true"):
        raise CheckpointError(
            f"{path}: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, which lets a file run any code; unset it"
        )
    _verify(path, sha256)
    try:
        with torch.serialization.safe_globals([*_names(classes), *_PARTS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: cannot be loaded: {_reason(error)}") from error


def _names(classes: Iterable[type]) -> Iterator[type | tuple[type, str]]:
    """Yield the classes, also under the names that they have in files of earlier versions."""
    former = {module: earlier for earlier, module in runner.NAMES.items()}
    for kind in classes:
        yield kind
        if kind.__module__ in former:
            yield kind, f"{former[kind.__module__]}.{kind.__qualname__}"


def _reason(error: Exception) -> str:
    """Return why torch cannot load a file; torch's own message would advise to allow all classes."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return f"it holds {named[1]}, which the model's configuration does not name"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something else than tensors, plain values and layers"
    return brief(error)


#: Functions that torch's own modules hold beside tensors and numbers (nn.TransformerEncoderLayer its activation).
_PARTS: list[Any] = [nn.functional.relu, nn.functional.gelu]


def _verify(path: Path, expected: str | None) -> None:
    beside = path.with_name(DIGESTS)
    if not path.is_file():  # a folder, a pipe or a device may stand in a store
        there = path.is_symlink() or path.exists()
        raise CheckpointError(f"{path}: " + ("is no file of bytes" if there else "there is no such file"))
    if expected is None and beside.is_file():
        expected = _recorded(beside, path.name)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected is not None and expected != sha256:
        raise CheckpointError(f"{path}: is damaged: its SHA-256 is {sha256[:12]}..., recorded was {expected[:12]}...")


def _recorded(digests: Path, name: str) -> str | None:
    try:
        sha256 = json.loads(digests.read_text()).get(name)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{digests}: is damaged: it holds no SHA-256 by file name") from error
    return None if sha256 is None else str(sha256)
