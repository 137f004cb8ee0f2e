"""Batches put together to optimizer steps."""

from collections.abc import Iterator

from runner.data import Batch
from runner.training.loop import Parts, Weigh, multiple


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
