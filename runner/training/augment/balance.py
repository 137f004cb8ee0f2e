"""The class of each training example, and examples drawn so that all classes come alike."""

from typing import Any

import torch
from torch import Tensor

from runner.data import Data, Tensors, labels_of
from runner.model import host
from runner.settings.errors import ConfigError


def labels(data: Data, key: str, value: str = "balanced") -> Tensor:
    """Return the class of every training example, int64 of shape (n,) or, for a class in each place, (n, ...).

    Raises ConfigError, of `key`, for data without classes, and for a dataset that does not say them without reading.
    """
    if data.task not in ("binary", "multiclass"):
        raise ConfigError(
            key, f"{value} goes by classes, and the data has none (its task is {data.task}); leave it out"
        )
    source: Any = data.train
    if isinstance(source, Tensors):
        return host.tensor(labels_of(source.y, data.task))
    known = _said(source)
    if known is None or len(known) != len(source):
        raise ConfigError(
            key,
            f"{value} needs the classes of all training examples, and {type(source).__name__} has no attribute `labels`"
            " or `targets` with one for each; give it one",
        )
    return host.tensor(torch.as_tensor(known).long())


def _said(source: Any) -> Any:
    """Return what a dataset says of the classes of its examples; None if it says nothing."""
    if isinstance(source, torch.utils.data.Subset):
        known = _said(source.dataset)
        return None if known is None else torch.as_tensor(known)[torch.as_tensor(source.indices)]
    if hasattr(source, "inner"):  # of our own wrappers
        return _said(source.inner)
    return next((one for name in ("labels", "targets") if (one := getattr(source, name, None)) is not None), None)


def order(classes: Tensor, seed: int, epoch: int) -> Tensor:
    """Return the examples of an epoch, as many as there are, drawn with replacement so that all classes come alike.

    That is torch's WeightedRandomSampler with 1 / (number of examples of the class) as weights.
    classes: int64 of shape (n,).
    """
    weights = 1.0 / torch.bincount(classes).double()
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.multinomial(weights[classes], len(classes), replacement=True, generator=generator)


def numbered(order: Tensor, total: int) -> Tensor:
    """Return a number for each draw: that of its example, plus `total` for each time that it has come before.

    An example that is drawn twice in an epoch is augmented in two ways.
    """
    place = order.argsort(stable=True)
    ordered = order[place]
    first = torch.searchsorted(ordered, ordered)
    times = torch.empty_like(order)
    times[place] = torch.arange(len(order)) - first
    return order + total * times
