"""Normalization of channels: batch, instance and group norm."""

from typing import Any

from torch import nn

from runner.model.explain import moments
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import Element, Index, Padded, Window, array, cells, single
from runner.model.explain.parts import bare as pad
from runner.model.explain.parts import same_shape as shape
from runner.model.explain.places import CHANNELS as AXES

__all__ = ["AXES", "KINDS", "element", "pad", "shape"]

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
KINDS: dict[Any, tuple[int, ...]] = {
    **dict(zip(BATCH, [(2, 3), (4,), (5,), ()], strict=True)),
    **dict(zip(INSTANCE, [(3,), (4,), (5,)], strict=True)),
    nn.GroupNorm: (),
}


def element(layer: Any, x: Padded, index: Index) -> Element:
    """Return a number, normalized by its channel's mean and variance. Source: torch.nn.BatchNorm2d."""
    channel = index[1]
    window = _window(layer, x.shape, index)
    values = [x[cell] for cell in cells(window)]
    if _has_statistics(layer):
        mean, variance = (float(array(each)[channel]) for each in (layer.running_mean, layer.running_var))
        lines = [f"running mean {number(mean)}, running variance {number(variance)} (from training)"]
    else:
        mean, first = moments.mean(values)
        variance, second = moments.variance(values, mean)
        lines = [first, second]
    total = moments.scaled(layer, (channel,), moments.centred(x[index], mean, variance, layer.eps, values))
    return Element(index, (*lines, f"{total.text} = {number(total.value)}"), total.value, total.scale, window)


def _has_statistics(layer: Any) -> bool:
    """Return whether the layer takes the statistics of the training, as batch norm does in evaluation."""
    return getattr(layer, "running_mean", None) is not None


def _window(layer: Any, size: Index, index: Index) -> Window:
    """Return the numbers whose mean and variance count."""
    if _has_statistics(layer):
        return single(index)
    positions = [range(n) for n in size[2:]]
    if isinstance(layer, nn.GroupNorm):
        width = layer.num_channels // layer.num_groups
        first = index[1] // width * width
        return (*single(index[:1]), range(first, first + width), *positions)
    examples = range(size[0]) if isinstance(layer, BATCH) else range(index[0], index[0] + 1)
    return (examples, *single(index[1:2]), *positions)
