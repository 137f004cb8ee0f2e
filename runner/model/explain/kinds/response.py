"""Local response norm: a number over a power of the mean square of the channels around it."""

from typing import Any

from torch import nn

from runner.model.explain.arithmetic import factor, number
from runner.model.explain.moments import mean_of_squares
from runner.model.explain.parts import Element, Index, Padded, cells, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.parts import same_shape as shape
from runner.model.explain.places import CHANNELS as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS: dict[Any, tuple[int, ...]] = {nn.LocalResponseNorm: (3, 4, 5)}


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return a number over a power of the mean square around it; channels beyond the input count as zeros.

    Source: torch.nn.LocalResponseNorm.
    """
    channel, size = index[1], layer.size
    around = range(max(channel - size // 2, 0), min(channel + (size - 1) // 2 + 1, x.shape[1]))
    window = (*single(index[:1]), around, *single(index[2:]))
    values = [x[cell] for cell in cells(window)]
    squares, line = mean_of_squares([*values, *[0.0] * (size - len(values))])
    value = x[index] / (layer.k + layer.alpha * squares) ** layer.beta
    base = f"{number(layer.k)} + {number(layer.alpha)}*{number(squares)}"
    text = f"{factor(x[index])}/({base})^{number(layer.beta)} = {number(value)}"
    beyond = size - len(values)
    notes = (f"{beyond} of the {size} channels would be beyond the input: zeros",) if beyond else ()
    return Element(index, (line, text), value, abs(x[index]), window, notes=notes)
