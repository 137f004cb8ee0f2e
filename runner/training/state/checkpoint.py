"""Checkpoint files: a state_dict or a full model, with the SHA-256 of what was written."""

import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Iterable, Iterator
from copy import copy as copy_of
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import runner
from runner.model import host
from runner.settings.errors import Failure, brief
from runner.settings.files import durable

FILES = {"state_dict": "state_dict.pt", "model": "model.pt", "training": "training.pt"}
#: The files that hold a model, each of them alone.
MODELS = ("state_dict", "model")
DIGESTS = "sha256.json"


class CheckpointError(Failure):
    """A checkpoint cannot be written; or not loaded, since it is damaged or belongs to another model."""


def save(
    folder: Path, model: nn.Module, format: str, training: dict[str, Any] | None = None, lasting: bool = True
) -> dict[str, str]:
    """Write the model's files into `folder` and return the SHA-256 of each by file name.

    format: "state_dict" (the parameters and buffers), "model" (the module itself), or "both".
    training: what else the next step depends on, as tensors and plain values; goes into `training.pt`.
    lasting: False for files on their way to a store, which makes them last.
    Raises CheckpointError when the files cannot be written.
    """
    kinds = list(MODELS) if format == "both" else [format]
    content = {FILES[kind]: _own(model if kind == "model" else model.state_dict()) for kind in kinds}
    if training is not None:
        content[FILES["training"]] = _own(training)
    digests = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in content.items():
            packing, digests[name] = packed(value)
            durable.write(folder / name, packing, lasting)
        durable.write(folder / DIGESTS, (json.dumps(digests, indent=2) + "\n").encode(), lasting)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {durable.reason(error) or error}") from error
    return digests


def packed(value: Any) -> tuple[memoryview, str]:
    """The bytes of a file that holds `value`, tensors and plain values or a module, and their SHA-256."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer(), hashlib.sha256(buffer.getbuffer()).hexdigest()


def load_state_dict(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The parameters and buffers in `path`, on the CPU. No code in the file is run.

    sha256: what the file must have; None: what the `sha256.json` beside it says.
    """
    return _load(path, [], sha256)  # type: ignore[no-any-return]


def load_model(path: Path, classes: Iterable[type], sha256: str | None = None) -> nn.Module:
    """The model in `path`, on the CPU. It may hold modules of `classes` only: no other code in the file is run."""
    model = _load(path, classes, sha256)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"{path}: holds {type(model).__name__}, expected a torch module")
    return model


def load_training(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """What `save` was given as `training`. No code in the file is run."""
    return _load(path, [], sha256)  # type: ignore[no-any-return]


def fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give `weights` to the model. Raises CheckpointError where their names or shapes are those of another model."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        _, *wrong = str(error).strip().splitlines()
        told = " ".join(line.strip() for line in wrong[:3])
        raise CheckpointError(f"the checkpoint belongs to another model: {told}") from error


def digest(state: dict[str, Tensor]) -> str:
    """The SHA-256 of a state_dict's names, types, shapes and bytes: equal only for equal weights."""
    sha = hashlib.sha256()
    for name, tensor in state.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(host.content(tensor))
    return sha.hexdigest()


def copy(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers as they are now, on the CPU and apart from the model."""
    return {name: host.copied(tensor) for name, tensor in model.state_dict().items()}


def _own(value: Any) -> Any:
    """The same without tensors that are parts of larger ones, whose files would hold all of the larger ones."""
    if isinstance(value, Tensor):
        return value.clone() if _is_part(value) else value
    if isinstance(value, nn.Module):
        return _apart(value) if any(map(_is_part, (*value.parameters(), *value.buffers()))) else value
    if isinstance(value, dict):
        found = copy_of(value)  # a state_dict is more than a dict
        found.update((k, _own(v)) for k, v in value.items())
        return found
    return [_own(v) for v in value] if isinstance(value, list) else value


def _is_part(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() > tensor.nbytes


def _apart(model: nn.Module) -> nn.Module:
    found = deepcopy(model)
    for tensor in (*found.parameters(), *found.buffers()):
        tensor.data = tensor.data.clone()
    return found


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
    """The classes, also by the names that they had in files of earlier versions."""
    former = {now: before for before, now in runner.NAMES.items()}
    for kind in classes:
        yield kind
        if kind.__module__ in former:
            yield kind, f"{former[kind.__module__]}.{kind.__qualname__}"


def _reason(error: Exception) -> str:
    """torch's own words for a class that is not allowed begin with the advice to allow all of them."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return f"it holds {named[1]}, which the model's configuration does not name"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something else than tensors, plain values and layers"
    return brief(error)


#: Functions that torch's own modules keep beside tensors and numbers (nn.TransformerEncoderLayer its activation).
_PARTS: list[Any] = [nn.functional.relu, nn.functional.gelu]


def _verify(path: Path, wanted: str | None) -> None:
    beside = path.with_name(DIGESTS)
    if not path.is_file():  # a folder, a pipe or a device may stand in a store
        there = path.is_symlink() or path.exists()
        raise CheckpointError(f"{path}: " + ("is no file of bytes" if there else "there is no such file"))
    if wanted is None and beside.is_file():
        wanted = _recorded(beside, path.name)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if wanted is not None and wanted != found:
        raise CheckpointError(f"{path}: is damaged: its SHA-256 is {found[:12]}..., recorded was {wanted[:12]}...")


def _recorded(digests: Path, name: str) -> str | None:
    try:
        found = json.loads(digests.read_text()).get(name)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{digests}: is damaged: it holds no SHA-256 by file name") from error
    return None if found is None else str(found)
