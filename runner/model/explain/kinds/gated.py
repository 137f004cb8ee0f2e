"""Gated linear unit: the first half of a dimension times the sigmoid of its second half."""

import math
from typing import Any

from torch import nn

from runner.model.explain.arithmetic import factor, number
from runner.model.explain.parts import Element, Index, Padded, Predicted, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS: dict[Any, tuple[int, ...]] = {nn.GLU: ()}


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape with half of the gated dimension."""
    dim = layer.dim % len(size)
    line = f"dimension {dim}: {size[dim]}/2 = {size[dim] // 2}, the half that the other half gates"
    return Predicted((*size[:dim], size[dim] // 2, *size[dim + 1 :]), (line,))


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return a number times the sigmoid of its partner in the second half."""
    dim = layer.dim % len(index)
    half = x.shape[dim] // 2
    pair = range(index[dim], index[dim] + half + 1, half)
    value, gate = (x[(*index[:dim], place, *index[dim + 1 :])] for place in pair)
    out = value * 0.5 * (1 + math.tanh(gate / 2))  # 1/(1 + exp(-gate)) without the overflow
    line = f"{factor(value)}/(1 + exp(-{factor(gate)})) = {number(out)}"
    window = (*single(index[:dim]), pair, *single(index[dim + 1 :]))
    return Element(index, (line,), out, abs(value) if math.isfinite(value) else 1.0, window)
