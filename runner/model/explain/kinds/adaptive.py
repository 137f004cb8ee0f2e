"""Adaptive pooling: the output size is given, and the windows follow from it."""

from typing import Any

from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Padded, Predicted, cells
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import CHANNELS as AXES
from runner.model.explain.spans import LETTERS, per_dimension

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

MAX = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
KINDS: dict[Any, tuple[int, ...]] = {
    **dict(zip(MAX, [(3,), (4,), (5,)], strict=True)),
    nn.AdaptiveAvgPool1d: (3,),
    nn.AdaptiveAvgPool2d: (4,),
    nn.AdaptiveAvgPool3d: (5,),
}


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape with the sizes of `output_size`."""
    out = _output_size(layer, size)
    lines = [f"{d}: output_size = {o} (was {n})" for d, o, n in zip(LETTERS[len(out)], out, size[2:], strict=True)]
    return Predicted((*size[:2], *out), tuple(lines))


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the largest number, or the average, of one window. Source: torch.nn.AdaptiveAvgPool2d."""
    sizes = list(zip(index[2:], x.shape[2:], _output_size(layer, x.shape), strict=True))
    under = [range(i * n // out, -(-(i + 1) * n // out)) for i, n, out in sizes]
    window = (range(index[0], index[0] + 1), range(index[1], index[1] + 1), *under)
    values = [x[cell] for cell in cells(window)]
    worked = arithmetic.largest(values) if isinstance(layer, MAX) else arithmetic.average(values, len(values))
    notes = [
        f"{name}: the window starts at floor({i}*{n}/{out}) = {r.start}, ends before ceil({i + 1}*{n}/{out}) = {r.stop}"
        for name, (i, n, out), r in zip(LETTERS[len(under)], sizes, under, strict=True)
    ]
    line = f"{worked.text} = {number(worked.value)}"
    return Element(index, (line,), worked.value, worked.scale, window, notes=tuple(notes))


def _output_size(layer: Any, size: Index) -> Index:
    """Return the sizes of the output, of which None in `output_size` keeps the input's."""
    sizes = per_dimension(layer.output_size, len(size) - 2)
    return tuple(n if out is None else out for out, n in zip(sizes, size[2:], strict=True))
