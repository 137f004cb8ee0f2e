"""Layers that compute nothing in evaluation: they pass numbers on, as they are or in another shape."""

import math
from typing import Any

import numpy as np
from torch import nn

from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Padded, Predicted, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
KINDS: dict[Any, tuple[int, ...]] = dict.fromkeys((nn.Flatten, nn.Identity, *DROPOUT), ())


def shape(layer: Any, size: Index) -> Predicted:
    """Return the input's shape, or that of Flatten."""
    if not isinstance(layer, nn.Flatten):
        return Predicted(size, ("the shape stays",))
    first, last = layer.start_dim % len(size), layer.end_dim % len(size)
    flat = size[first : last + 1]
    line = f"dimensions {first} to {last} become one: {'*'.join(map(str, flat))} = {math.prod(flat)}"
    return Predicted((*size[:first], math.prod(flat), *size[last + 1 :]), (line,))


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the input's number that stands at this place of the output."""
    out = shape(layer, x.shape).shape
    source = tuple(int(i) for i in np.unravel_index(int(np.ravel_multi_index(index, out)), x.shape))
    why = f"dropout with p = {layer.p} drops nothing in evaluation: " if isinstance(layer, DROPOUT) else ""
    line = f"{why}input[{', '.join(map(str, source))}] is passed on: {number(x[source])}"
    return Element(index, (line,), x[source], 0.0, single(source))
