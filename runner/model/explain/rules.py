"""Which file of this package works a layer."""

from typing import Any

from torch import nn

from runner.model.explain import (
    activation,
    adaptive,
    conv,
    gated,
    layer_norm,
    linear,
    norm,
    passing,
    pool,
    response,
    softmax,
    transposed,
)
from runner.model.explain.parts import Family

FAMILIES: tuple[Family, ...] = (
    conv,
    transposed,
    linear,
    pool,
    adaptive,
    activation,
    gated,
    norm,
    layer_norm,
    response,
    softmax,
    passing,
)

WINDOWS: tuple[Family, ...] = (conv, transposed, pool, adaptive)
#: What a layer computes with.
COMPUTES = ("forward", "_conv_forward", "_output_padding", "__call__")


def family(layer: nn.Module) -> Family | None:
    """The family of the layer, None when there is none."""
    return next((f for f in FAMILIES if kind(layer) in f.KINDS), None)


def takes(layer: nn.Module, dims: int) -> bool:
    """Whether the layer's family works inputs of so many dimensions, the batch included."""
    found = family(layer)
    return found is not None and dims in (found.KINDS[kind(layer)] or range(1, 9))


def kind(layer: nn.Module) -> Any:
    """torch's class whose arithmetic it is: a subclass that computes something else is another kind."""
    mine = type(layer)
    return next((c for c in mine.__mro__ if c.__module__.startswith("torch.nn.modules.") and _same(c, mine)), mine)


def near(layer: nn.Module) -> str:
    """The worked class that this one, which is not worked, is a subclass of; empty when there is none."""
    return next((c.__name__ for c in type(layer).__mro__ if any(c in f.KINDS for f in FAMILIES)), "")


def window_dimensions(target: Any) -> int:
    """Along how many dimensions the window of this class slides; 0 for a layer without a window."""
    return next((f.KINDS[target][0] - 2 for f in WINDOWS if target in f.KINDS), 0)


def _same(one: Any, other: Any) -> bool:
    return all(getattr(one, name, None) is getattr(other, name, None) for name in COMPUTES)
