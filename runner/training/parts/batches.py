"""The batches of optimizer steps, and whether layers, losses or metrics may write into them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from runner.data import Batch, Data, count
from runner.settings import Settings
from runner.settings.values import lookup
from runner.training.loop import Parts, Weigh, multiple
from runner.training.parts import losses
from runner.training.parts.named import ByOutput, Shared, target_of


def steps_per_epoch(settings: Settings, data: Data) -> int:
    """Return the number of optimizer steps of one pass over the training data."""
    trainer = settings.trainer
    return -(-count(data.train, trainer.batch_size, trainer.drop_last) // trainer.accumulate)


def grouped(stream: Iterator[Batch], size: int, loss: nn.Module, own: bool = False) -> Iterator[Parts]:
    """Yield `size` batches at a time, each with its share of the step's loss: by weight for a mean, 1 for a sum.

    Of losses by output each has shares of its own, which are within the targets; the share of the batch is 1 then.
    own: the step is the user's own, which takes one share for all of a batch.
    """
    if size == 1:
        for batch in stream:
            yield [(1.0, batch)]
        return
    together: Callable[[list[Batch]], Parts] = partial(_as_one, weigh=losses.weigh(loss))
    if isinstance(loss, ByOutput) and not own:
        together = partial(_by_output, each={name: losses.weigh(one) for name, one in loss.items()})
    group: list[Batch] = []
    for batch in stream:
        group.append(batch)
        if len(group) == size:
            yield together(group)
            group = []
    if group:
        yield together(group)


def may_write(modules: Iterable[Any]) -> bool:
    """Return whether one of these layers, losses or metrics may write into its input, which must then be a copy.

    The code of torch, torchmetrics and this package does so only where its argument `inplace` is true.
    """
    parts = [part for one in modules for part in (one.modules() if isinstance(one, nn.Module) else [one])]
    return any(is_own(part) or getattr(part, "inplace", False) for part in parts)


def is_own(value: Any) -> bool:
    """Return whether the class of `value` is the user's own, whose code may do anything."""
    return lookup.is_own(type(value))


def _as_one(group: list[Batch], weigh: Weigh) -> Parts:
    return list(zip(_shares(group, weigh), group, strict=True))


def _by_output(group: list[Batch], each: Mapping[str, Weigh]) -> Parts:
    shares = {name: _shares([(x, target_of(y, name)) for x, y in group], weigh) for name, weigh in each.items()}
    parts = [{name: own[i] for name, own in shares.items()} for i in range(len(group))]
    return [(1.0, (x, Shared(y, part))) for (x, y), part in zip(group, parts, strict=True)]


def _shares(group: list[Batch], weigh: Weigh) -> list[float | Tensor]:
    if weigh is None:
        return [1.0] * len(group)
    weights = [weigh(batch) for batch in group]
    total = sum(weights)
    total = total + (total == 0)
    return [multiple(weight) / total for weight in weights]
