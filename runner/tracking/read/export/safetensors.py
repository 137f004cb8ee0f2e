"""Weights alone, in a format that can hold no code; the configuration stands beside them."""

from pathlib import Path

from torch import Tensor

from runner.tracking.read.export import ExportError, Source
from runner.training.state.checkpoint import digest

SUFFIX, NEEDS, RAW = ".safetensors", ("safetensors",), False


def write(source: Source, path: Path) -> None:
    from safetensors.torch import save

    # Copies: weights that two layers share are refused otherwise.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in source.model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", **source.about}))


def check(source: Source, path: Path) -> str:
    from safetensors.torch import load_file

    state, found = source.model.state_dict(), load_file(path)
    for name in {**state, **found}:
        if name not in state or name not in found or not _same(state[name], found[name]):
            raise ExportError(f"{name} is not what it was")
    return f"{len(state)} tensors read back bit for bit"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and digest({"": a}) == digest({"": b})
