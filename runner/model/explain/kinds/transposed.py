"""Transposed convolution: every input number spreads the kernel over the output, where the shares are summed up."""

from itertools import product
from math import prod
from typing import Any

from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Kernel, Padded, Predicted, array
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import CHANNELS as AXES
from runner.model.explain.spans import LETTERS

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS = {nn.ConvTranspose1d: (3,), nn.ConvTranspose2d: (4,), nn.ConvTranspose3d: (5,)}
#: The (kernel, input) positions whose products fall on one output position, along one dimension.
Pairs = list[tuple[int, int]]


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape that all spread kernels cover. Source: torch.nn.ConvTranspose2d."""
    names = LETTERS[len(size) - 2]
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding)
    sizes, lines = [], [f"channels: out_channels = {layer.out_channels}"]
    lines.append("size out = (size - 1)*stride - 2*padding + dilation*(kernel - 1) + output_padding + 1")
    for name, n, k, s, p, d, extra in zip(names, size[2:], *settings, strict=True):
        sizes.append((n - 1) * s - 2 * p + d * (k - 1) + extra + 1)
        lines.append(f"{name}: ({n} - 1)*{s} - 2*{p} + {d}*({k} - 1) + {extra} + 1 = {sizes[-1]}")
    return Predicted((size[0], layer.out_channels, *sizes), tuple(lines))


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the sum of all products that fall on one position, plus the bias."""
    example, channel, *at = index
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    first = channel // outputs * inputs
    kernel = array(layer.weight)[first : first + inputs, channel % outputs]
    met: list[Pairs] = [_met(layer, dim, i, n) for dim, (i, n) in enumerate(zip(at, x.shape[2:], strict=True))]
    values, weights = [], []
    for c in range(inputs):
        for pairs in product(*met):
            values.append(x[(example, first + c, *(cell for _, cell in pairs))])
            weights.append(float(kernel[(c, *(tap for tap, _ in pairs))]))
    total = arithmetic.products(values, weights, None if layer.bias is None else float(array(layer.bias)[channel]))
    taps = (range(inputs), *(_progression([tap for tap, _ in pairs]) for pairs in met))
    window = (
        range(example, example + 1),
        range(first, first + inputs),
        *(_progression([cell for _, cell in pairs]) for pairs in met),
    )
    return Element(
        index,
        (f"{total.text} = {number(total.value)}",),
        total.value,
        total.scale,
        window,
        Kernel(f"kernel of channel {channel}" if layer.out_channels > 1 else "kernel", kernel, taps),
        (f"{prod(map(len, taps))} of the kernel's {kernel.size} numbers reach this output",),
    )


def _met(layer: Any, dim: int, position: int, size: int) -> Pairs:
    """Return the pairs that meet at a position: cell*stride + tap*dilation - padding."""
    stride, padding, dilation = layer.stride[dim], layer.padding[dim], layer.dilation[dim]
    pairs = []
    for tap in range(layer.kernel_size[dim]):
        cell, remainder = divmod(position + padding - tap * dilation, stride)
        if not remainder and 0 <= cell < size:
            pairs.append((tap, cell))
    return pairs


def _progression(positions: list[int]) -> range:
    """Return evenly spaced positions as an ascending range."""
    if not positions:
        return range(0)
    low, high = min(positions), max(positions)
    return range(low, high + 1, (high - low) // max(len(positions) - 1, 1) or 1)
