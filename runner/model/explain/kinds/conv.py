"""Convolution: a window of the input times the kernel, number by number, summed up."""

from typing import Any

import numpy as np
from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Array, Element, Index, Kernel, Padded, Predicted, array, cells, whole
from runner.model.explain.places import CHANNELS as AXES
from runner.model.explain.spans import Span, formula

__all__ = ["AXES", "KINDS", "element", "pad", "padding", "shape", "spans"]

KINDS = {nn.Conv1d: (3,), nn.Conv2d: (4,), nn.Conv3d: (5,)}
#: NumPy's words for torch's padding modes.
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape that the kernel, moved over the padded input, makes. Source: torch.nn.Conv2d."""
    along = spans(layer, size)
    lines = (f"channels: out_channels = {layer.out_channels}", *formula(along))
    return Predicted((size[0], layer.out_channels, *(s.out for s in along)), lines)


def pad(layer: Any, x: Array) -> Padded:
    """Return the input with the layer's padding around it."""
    around = [(0, 0), (0, 0), *padding(layer)]
    mode: Any = MODES[layer.padding_mode]
    return Padded(np.pad(x, around, mode=mode), tuple(before for before, _ in around), x.shape)


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the sum of one window times the kernel, plus the bias."""
    example, channel, *at = index
    inputs = layer.in_channels // layer.groups
    first = channel // (layer.out_channels // layer.groups) * inputs
    along = [s.window(i) for s, i in zip(spans(layer, x.shape), at, strict=True)]
    window = (range(example, example + 1), range(first, first + inputs), *along)
    kernel = array(layer.weight)[channel]
    bias = None if layer.bias is None else float(array(layer.bias)[channel])
    total = arithmetic.products([x[cell] for cell in cells(window)], kernel.ravel().tolist(), bias)
    return Element(
        index,
        (f"{total.text} = {number(total.value)}",),
        total.value,
        total.scale,
        window,
        Kernel(f"kernel of channel {channel}" if layer.out_channels > 1 else "kernel", kernel, whole(kernel.shape)),
        _notes(layer, x, window),
    )


def spans(layer: Any, size: Index) -> list[Span]:
    """Return the window along each dimension after the channels."""
    sizes = zip(size[2:], layer.kernel_size, layer.stride, padding(layer), layer.dilation, strict=True)
    return [Span(*one) for one in sizes]


def padding(layer: Any) -> list[tuple[int, int]]:
    """Return the cells of padding before and after, by dimension."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":  # the odd cell goes to the right
        around = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in around]
    return [(p, p) for p in layer.padding]


def _notes(layer: Any, x: Padded, window: tuple[range, ...]) -> tuple[str, ...]:
    inside = [not x.is_padding(cell) for cell in cells(window)]
    outside = len(inside) - sum(inside)
    return (f"{outside} of the window's {len(inside)} numbers are padding ({layer.padding_mode})",) if outside else ()
