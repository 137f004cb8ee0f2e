"""safetensors: weights alone, in a format that can hold no code, with the configuration in a file beside them."""

from pathlib import Path

from torch import Tensor

from runner.tracking.read.export import ExportError, Source
from runner.training.state.checkpoint import digest

SUFFIX, NEEDS, RAW = ".safetensors", ("safetensors",), False


def write(source: Source, path: Path) -> None:
    """Write parameters and buffers by their names, with the run, its checkpoint and its data as metadata."""
    from safetensors.torch import save

    # Copies: weights that two layers share are refused otherwise.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in source.model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", **source.about}))


def check(source: Source, path: Path) -> str:
    """Compare the tensors in the file bit by bit. Returns what was compared, in words."""
    from safetensors.torch import load_file

    state, tensors = source.model.state_dict(), load_file(path)
    for name in {**state, **tensors}:
        if name not in state or name not in tensors or not _same(state[name], tensors[name]):
            raise ExportError(f"the tensor {name} is another one than was written")
    return f"{len(state)} tensors read back bit for bit"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and digest({"": a}) == digest({"": b})
