"""Normalization of the last dimensions: layer norm and RMS norm."""

import math
from typing import Any

import torch
from torch import nn

from runner.model.explain import moments
from runner.model.explain.arithmetic import Sum, factor, largest_of, number
from runner.model.explain.parts import Element, Index, Padded, cells, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.parts import same_shape as shape
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS: dict[Any, tuple[int, ...]] = {nn.LayerNorm: (), nn.RMSNorm: ()}


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return a number, normalized over the last dimensions. Source: torch.nn.LayerNorm, torch.nn.RMSNorm."""
    first = len(index) - len(layer.normalized_shape)
    window = (*single(index[:first]), *(range(n) for n in x.shape[first:]))
    values = [x[cell] for cell in cells(window)]
    lines, quotient = (_rms if isinstance(layer, nn.RMSNorm) else _layer)(layer, x[index], values)
    total = moments.scaled(layer, index[first:], quotient)
    return Element(index, (*lines, f"{total.text} = {number(total.value)}"), total.value, total.scale, window)


def _layer(layer: Any, x: float, values: list[float]) -> tuple[list[str], Sum]:
    mean, first = moments.mean(values)
    variance, second = moments.variance(values, mean)
    return [first, second], moments.centred(x, mean, variance, layer.eps, values)


def _rms(layer: Any, x: float, values: list[float]) -> tuple[list[str], Sum]:
    squares, line = moments.mean_of_squares(values)
    eps = layer.eps if layer.eps is not None else _smallest(layer)
    deviation = math.sqrt(squares + eps)
    text = f"{factor(x)}/sqrt({number(squares)} + {number(eps)})"
    return [line], Sum(text, x / deviation, largest_of(values) / deviation)


def _smallest(layer: Any) -> float:
    """Return torch's eps for a layer without one: that of the input's type, which is the weight's."""
    return torch.finfo(torch.float32 if layer.weight is None else layer.weight.dtype).eps
