"""Export formats, one file each: `write(source, path)`, then `check(source, path)`, which reads the file back."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from runner.data import Nest, nests
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup

#: Batch sizes with which a written model is compared with the one in memory.
SIZES = (1, 2, 7)
BATCH = torch.export.Dim("batch")


class ExportError(RuntimeError):
    """A model cannot be written in a format, or the file does not hold the same model."""


@dataclass
class Source:
    """A model to export, with inputs to compare it by."""

    model: nn.Module  # in eval mode, on the CPU
    x: Nest  # more inputs than SIZES asks for, batch first
    config: str  # the run's config.yaml
    about: dict[str, str]  # the run, its checkpoint, its data


class Format(Protocol):
    """A module in this folder."""

    SUFFIX: str  # of the file
    NEEDS: tuple[str, ...]  # packages that only this format needs
    RAW: bool  # whether standardization can be a part of the model

    def write(self, source: Source, path: Any) -> None:
        """Write the file."""

    def check(self, source: Source, path: Any) -> str:
        """Return in words what was compared. Raises ExportError when the file does not hold the same model."""


def names() -> list[str]:
    """Return the names of the formats: the files of this folder."""
    return lookup.modules(__path__)


def find(name: str) -> Format:
    """Return the format's module. Raises ConfigError when there is none, or a package that it needs is missing."""
    if name not in names():
        raise ConfigError("format", f"{name!r} is not one of {', '.join(names())}{did_you_mean(name, names())}")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    missing = [package for package in module.NEEDS if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError("format", f"{name} needs {' and '.join(missing)}: pip install 'runner-torch[{name}]'")
    return module  # type: ignore[no-any-return]


def inputs(model: nn.Module, example: Nest, notes: dict[str, Any] | None = None) -> Nest:
    """Return made-up inputs for a model, as many as are compared: random numbers, or indices that its embeddings have.

    example: a batch of its inputs, for their shape and type. notes: `mean` and `std` of inputs that the model
        standardizes itself; then inputs are in double precision.
    """
    generator = torch.Generator().manual_seed(0)
    return nests.mapped(lambda one: _inputs(model, one, notes, generator), example)


def _inputs(model: nn.Module, example: Tensor, notes: dict[str, Any] | None, generator: torch.Generator) -> Tensor:
    shape = (max(SIZES), *example.shape[1:])
    if not example.is_floating_point():
        most = min((m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)), default=2)
        return torch.randint(most, shape, generator=generator, dtype=example.dtype)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    if notes is not None:
        return drawn * torch.tensor(notes["std"]) + torch.tensor(notes["mean"])
    return drawn.to(next((p.dtype for p in model.parameters()), torch.float32))


@torch.no_grad()
def compare(source: Source, forward: Any) -> str:
    """Compare the outputs of `forward`, a function from inputs to outputs, with the model's, at SIZES of a batch.

    Returns in words how near they are. Raises ExportError if shape or type differ, or a number by more than 1e-4 (1e-9
    in double precision) of the largest.
    """
    apart, largest = 0.0, 0.0
    for size in SIZES:
        x = nests.picked(source.x, slice(size))
        whole, given = source.model(nests.mapped(Tensor.clone, x)), forward(x)  # its first layer may work in place
        if nests.is_nest(given) and dict(nests.named(given)).keys() != dict(nests.named(whole)).keys():
            raise ExportError(f"the outputs are {nests.described(given)}, and in torch {nests.described(whole)}")
        for expected, output in zip(nests.leaves(whole), nests.leaves(given), strict=True):
            if output.shape != expected.shape or output.dtype != expected.dtype:
                raise ExportError(f"{size} inputs give {_kind(output)}, and in torch {_kind(expected)}")
            apart = max(apart, float((output - expected).abs().max()))
            largest = max(largest, float(expected.abs().max()))
    within = largest * (1e-9 if expected.dtype == torch.float64 else 1e-4) + 1e-6
    if not apart <= within:
        raise ExportError(f"its outputs are {apart:.2g} apart from torch's, which go up to {largest:.2g}")
    return f"equal to torch for {', '.join(map(str, SIZES))} inputs, {apart:.1g} apart at most"


def dynamic(x: Nest) -> Any:
    """Return, for torch.export, that the batch of every input may be of any size."""
    return nests.mapped(lambda one: {0: BATCH}, x)


def _kind(output: Tensor) -> str:
    return f"{tuple(output.shape)} of {output.dtype}"
