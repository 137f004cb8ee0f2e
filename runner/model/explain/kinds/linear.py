"""Linear: all numbers of a row times the weights of one output, summed up."""

from typing import Any

from torch import nn

from runner.model.explain import arithmetic
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Kernel, Padded, Predicted, array, cells, single, whole
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import PLAIN as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

KINDS: dict[Any, tuple[int, ...]] = {nn.Linear: ()}


def shape(layer: Any, size: Index) -> Predicted:
    """Return the shape with `out_features` in the last dimension."""
    line = f"last dimension: in_features = {layer.in_features} becomes out_features = {layer.out_features}"
    return Predicted((*size[:-1], layer.out_features), (line,))


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return the sum of a row's numbers times one output's weights, plus the bias."""
    output = index[-1]
    window = (*single(index[:-1]), range(x.shape[-1]))
    weights = array(layer.weight)[output]
    bias = None if layer.bias is None else float(array(layer.bias)[output])
    total = arithmetic.products([x[cell] for cell in cells(window)], weights.tolist(), bias)
    kernel = Kernel(f"weights of output {output}", weights, whole(weights.shape))
    return Element(index, (f"{total.text} = {number(total.value)}",), total.value, total.scale, window, kernel)
