"""The batches of optimizer steps, and whether layers, losses or metrics may write into them."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from runner.data import Batch, Data, count
from runner.settings import Settings
from runner.settings.values import lookup
from runner.training.loop import Parts, Weigh, multiple


def steps_per_epoch(settings: Settings, data: Data) -> int:
    """Return the number of optimizer steps of one pass over the training data."""
    trainer = settings.trainer
    return -(-count(data.train, trainer.batch_size, trainer.drop_last) // trainer.accumulate)


def grouped(stream: Iterator[Batch], size: int, weigh: Weigh) -> Iterator[Parts]:
    """Yield `size` batches at a time, each with its share of the step's loss: by weight for a mean, 1 for a sum."""
    if size == 1:
        for batch in stream:
            yield [(1.0, batch)]
        return
    group: list[Batch] = []
    for batch in stream:
        group.append(batch)
        if len(group) == size:
            yield _shared(group, weigh)
            group = []
    if group:
        yield _shared(group, weigh)


def may_write(modules: Iterable[Any]) -> bool:
    """Return whether one of these layers, losses or metrics may write into its input, which must then be a copy.

    The code of torch, torchmetrics and this package does so only where its argument `inplace` is true.
    """
    parts = [part for one in modules for part in (one.modules() if isinstance(one, nn.Module) else [one])]
    return any(is_own(part) or getattr(part, "inplace", False) for part in parts)


def is_own(value: Any) -> bool:
    """Return whether the class of `value` is the user's own, whose code may do anything."""
    return lookup.is_own(type(value))


def _shared(group: list[Batch], weigh: Weigh) -> Parts:
    if weigh is None:
        return [(1.0, batch) for batch in group]
    weights = [weigh(batch) for batch in group]
    total = sum(weights)
    total = total + (total == 0)
    return [(multiple(weight) / total, batch) for weight, batch in zip(weights, group, strict=True)]
