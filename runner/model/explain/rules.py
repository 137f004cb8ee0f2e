"""The kinds of layers, and the one of a given layer."""

from typing import Any

from torch import nn

from runner.model.explain.kinds import (
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
from runner.settings import torch_private

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


def family(layer: nn.Module) -> Family | None:
    """Return the family of the layer; None where there is none."""
    return next((f for f in FAMILIES if kind(layer) in f.KINDS), None)


def takes(layer: nn.Module, dims: int) -> bool:
    """Return whether the layer's family works inputs of `dims` dimensions, the batch included."""
    its_family = family(layer)
    return its_family is not None and dims in (its_family.KINDS[kind(layer)] or range(1, 9))


def kind(layer: nn.Module) -> Any:
    """Return torch's class whose arithmetic it is: a subclass that computes something else is another kind."""
    own = type(layer)
    return next((c for c in own.__mro__ if c.__module__.startswith("torch.nn.modules.") and _same(c, own)), own)


def near(layer: nn.Module) -> str:
    """Return the name of the worked class that this one, which is not worked, inherits from; "" for none."""
    return next((c.__name__ for c in type(layer).__mro__ if any(c in f.KINDS for f in FAMILIES)), "")


def window_dimensions(target: Any) -> int:
    """Return the number of dimensions along which the window of this class slides; 0 without a window."""
    return next((f.KINDS[target][0] - 2 for f in WINDOWS if target in f.KINDS), 0)


def _same(one: Any, other: Any) -> bool:
    return all(getattr(one, name, None) is getattr(other, name, None) for name in torch_private.COMPUTING)
