"""Normalization of channels: batch, instance and group norm."""

from typing import Any

from torch import nn

from runner.model.explain import moments
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Padded, Predicted, Window, array, cells, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.places import CHANNELS as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
KINDS: dict[Any, tuple[int, ...]] = {
    **dict(zip(BATCH, [(2, 3), (4,), (5,), ()], strict=True)),
    **dict(zip(INSTANCE, [(3,), (4,), (5,)], strict=True)),
    nn.GroupNorm: (),
}


def shape(layer: Any, size: Index) -> Predicted:
    return Predicted(size, ("one number out for every number in: the shape stays",))


def element(layer: Any, x: Padded, index: Index) -> Element:
    channel = index[1]
    window = _window(layer, x.shape, index)
    values = [x[cell] for cell in cells(window)]
    if _remembers(layer):
        mean, variance = (float(array(kept)[channel]) for kept in (layer.running_mean, layer.running_var))
        lines = [f"running mean {number(mean)}, running variance {number(variance)} (from training)"]
    else:
        mean, first = moments.mean(values)
        variance, second = moments.variance(values, mean)
        lines = [first, second]
    total = moments.scaled(layer, (channel,), moments.centred(x[index], mean, variance, layer.eps, values))
    return Element(index, (*lines, f"{total.text} = {number(total.value)}"), total.value, total.scale, window)


def _remembers(layer: Any) -> bool:
    """In evaluation, batch norm (and an instance norm that was told to) takes the statistics of the training."""
    return getattr(layer, "running_mean", None) is not None


def _window(layer: Any, size: Index, index: Index) -> Window:
    """The numbers whose mean and variance count."""
    if _remembers(layer):
        return single(index)
    positions = [range(n) for n in size[2:]]
    if isinstance(layer, nn.GroupNorm):
        width = layer.num_channels // layer.num_groups
        first = index[1] // width * width
        return (*single(index[:1]), range(first, first + width), *positions)
    examples = range(size[0]) if isinstance(layer, BATCH) else range(index[0], index[0] + 1)
    return (examples, *single(index[1:2]), *positions)
