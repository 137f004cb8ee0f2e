"""Pooling: the largest number, or the average, of a window that slides over each channel."""

import math
from typing import Any

import numpy as np
from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import Sum, number
from runner.model.explain.parts import Array, Element, Index, Padded, Predicted, Window, cells
from runner.model.explain.places import CHANNELS as AXES
from runner.model.explain.spans import Span, formula, per_dimension

__all__ = ["AXES", "KINDS", "element", "pad", "shape", "spans"]

MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
KINDS: dict[Any, tuple[int, ...]] = {
    **dict(zip(MAX, [(3,), (4,), (5,)], strict=True)),
    nn.AvgPool1d: (3,),
    nn.AvgPool2d: (4,),
    nn.AvgPool3d: (5,),
}


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape that the window, moved over the padded input, makes. Source: torch.nn.MaxPool2d."""
    along = spans(layer, size)
    return Predicted((*size[:2], *(s.out for s in along)), formula(along))


def pad(layer: Any, x: Array) -> Padded:
    """Return the input with padding: minus infinity, which is never the largest, or 0 for an average."""
    around = [(0, 0), (0, 0), *(s.padding for s in spans(layer, x.shape))]
    fill = -math.inf if isinstance(layer, MAX) else 0.0
    return Padded(np.pad(x, around, constant_values=fill), tuple(before for before, _ in around), x.shape)


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the largest number, or the average, of one window."""
    along = spans(layer, x.shape)
    under = [s.window(i) for s, i in zip(along, index[2:], strict=True)]
    window = (range(index[0], index[0] + 1), range(index[1], index[1] + 1), *under)
    worked = _largest(x, window) if isinstance(layer, MAX) else _average(layer, x, window)
    line = f"{worked.text} = {number(worked.value)}"
    return Element(index, (line,), worked.value, worked.scale, window, notes=tuple(_notes(x, window, along)))


def spans(layer: Any, size: Index) -> list[Span]:
    """Return the window along each dimension after the channels."""
    dims = len(size) - 2
    kernel, stride, padding = (per_dimension(v, dims) for v in (layer.kernel_size, layer.stride, layer.padding))
    dilation = per_dimension(getattr(layer, "dilation", 1), dims)
    both = [(p, p) for p in padding]
    return [Span(*one, layer.ceil_mode) for one in zip(size[2:], kernel, stride, both, dilation, strict=True)]


def _largest(x: Padded, window: Window) -> Sum:
    return arithmetic.largest([x[cell] for cell in cells(window) if not x.is_padding(cell)])


def _average(layer: Any, x: Padded, window: Window) -> Sum:
    inside = [cell for cell in cells(window) if layer.count_include_pad or not x.is_padding(cell)]
    return arithmetic.average([x[cell] for cell in inside], getattr(layer, "divisor_override", None) or len(inside))


def _notes(x: Padded, window: Window, along: list[Span]) -> list[str]:
    covered = list(cells(window))
    outside = sum(map(x.is_padding, covered))
    full = math.prod(s.kernel for s in along)
    notes = [f"{outside} of the window's {len(covered)} cells are padding"] if outside else []
    if len(covered) < full:
        notes.append(f"the window hangs over the edge: {len(covered)} of its {full} cells are there")
    return notes
