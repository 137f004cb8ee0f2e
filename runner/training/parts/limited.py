"""Some batches of each part of the data, by `trainer.limit_batches`: for a trial of a configuration."""

from dataclasses import replace
from typing import Any

import torch

from runner.data import Data, Source, Tensors, count, evaluation_size, order_of
from runner.data import _nests as nests
from runner.model import host
from runner.settings import Settings
from runner.settings.errors import ConfigError


def check(limit: Any) -> None:
    """Raise ConfigError for a limit that is neither a number of batches nor a share of them."""
    if limit is None or (type(limit) is int and limit >= 1) or (type(limit) is float and 0 < limit <= 1):
        return
    raise ConfigError("trainer.limit_batches", f"{limit!r} is not understood; expected a number of batches, as 1,"
        " or a share of them, as 0.1")  # fmt: skip


def key(settings: Settings) -> str:
    """Return what the limited data depends on, beside the data; "" where it is not limited."""
    trainer = settings.trainer
    sizes = trainer.batch_size, trainer.eval_batch_size, trainer.drop_last
    order = trainer.shuffle, trainer.carry, settings.seed
    return "" if trainer.limit_batches is None else repr((trainer.limit_batches, *sizes, *order))


def limited(data: Data, settings: Settings) -> Data:
    """Return the data of the batches that the limit leaves, the same ones in every epoch; all of it without a limit.

    Of the training data these are the first batches of the first epoch, in the order of the data; of the others,
    and where states are carried over, the first ones.
    """
    trainer = settings.trainer
    if trainer.limit_batches is None:
        return data
    check(trainer.limit_batches)
    total = len(data.train)  # type: ignore[arg-type]
    left = _left(data.train, trainer.batch_size, trainer.limit_batches, trainer.drop_last)
    drawn = trainer.shuffle and not trainer.carry and left < total
    order = order_of(total, settings.seed, 0) if drawn else torch.arange(total)
    parts = {"train": _chosen(data.train, order[:left].sort().values)}
    for name in ("valid", "test"):
        if (source := getattr(data, name)) is not None:
            left = _left(source, evaluation_size(source, trainer), trainer.limit_batches)
            parts[name] = _chosen(source, torch.arange(left))
    return replace(data, **parts)  # type: ignore[arg-type]


def _left(source: Source, size: int | None, limit: float, drop_last: bool = False) -> int:
    """Return the number of examples of the batches that are left, at least one batch."""
    total = len(source)  # type: ignore[arg-type]
    batches = limit if isinstance(limit, int) else max(1, int(count(source, size, drop_last) * limit))
    return min(total, int(batches) * (size or total))


def _chosen(source: Source, index: torch.Tensor) -> Source:
    if len(index) == len(source):  # type: ignore[arg-type]
        return source
    if isinstance(source, Tensors):
        return Tensors(*source[index.to(nests.leaves(source.x)[0].device)])
    return torch.utils.data.Subset(source, host.numbers(index))
