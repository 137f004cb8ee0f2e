"""Batches put together to optimizer steps."""

from collections.abc import Iterator

from runner.data import Batch, Data, count
from runner.settings import Settings
from runner.training.loop import Parts, Weigh, multiple


def steps_per_epoch(settings: Settings, data: Data) -> int:
    """Return the optimizer steps of one pass over the training data."""
    trainer = settings.trainer
    return -(-count(data.train, trainer.batch_size, trainer.drop_last) // trainer.accumulate)


def grouped(stream: Iterator[Batch], size: int, weigh: Weigh) -> Iterator[Parts]:
    """`size` batches at a time, each with its share of the step's loss: by weight for a mean, 1 for a sum."""
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


def _shared(group: list[Batch], weigh: Weigh) -> Parts:
    if weigh is None:
        return [(1.0, batch) for batch in group]
    weights = [weigh(batch) for batch in group]
    total = sum(weights)
    total = total + (total == 0)
    return [(multiple(weight) / total, batch) for weight, batch in zip(weights, group, strict=True)]
