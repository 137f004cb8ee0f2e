"""Softmax: the exponential of a number over the sum of all of them."""

import math
from typing import Any

from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import factor, in_part, number
from runner.model.explain.parts import Element, Index, Padded, cells, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.parts import same_shape as shape
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS: dict[Any, tuple[int, ...]] = {nn.Softmax: (), nn.Softmin: (), nn.LogSoftmax: (), nn.Softmax2d: (4,)}


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the exponential of a number over the sum of all along the dimension, or its logarithm."""
    dim = _dim(layer, len(index))
    window = (*single(index[:dim]), range(x.shape[dim]), *single(index[dim + 1 :]))
    sign = -1 if isinstance(layer, nn.Softmin) else 1
    values = [sign * x[cell] for cell in cells(window)]
    value, top = sign * x[index], max(values)
    powers = [math.exp(v - top) for v in values]
    total = arithmetic.added(powers)
    opening = _opening(values, top, sign)
    if isinstance(layer, nn.LogSoftmax):
        out = value - top - math.log(total.value)
        line = f"{_less(value, top)} - log({total.text}) = {number(value - top)} - {factor(math.log(total.value))}"
    else:
        out = math.exp(value - top) / total.value
        line = f"exp({_less(value, top)})/({total.text}) = {number(math.exp(value - top))}/{number(total.value)}"
    return Element(index, (opening, f"{line} = {number(out)}"), out, 1.0, window)


def _opening(values: list[float], top: float, sign: int) -> str:
    """Return the first line: the largest is taken off everywhere, which keeps the quotient and overflows nowhere."""
    terms = in_part([f"exp({_less(v, top)})" for v in values], ", ", lambda rest: f"{rest} more")
    negated = "every number negated; " if sign < 0 else ""
    return f"{negated}the largest, {number(top)}, taken off: {terms}"


def _less(value: float, top: float) -> str:
    return f"{number(value)} - {factor(top)}"


def _dim(layer: Any, dims: int) -> int:
    if isinstance(layer, nn.Softmax2d):
        return dims - 3
    if layer.dim is None:  # torch's default, with a warning
        return 0 if dims in (0, 1, 3) else 1
    return int(layer.dim) % dims
