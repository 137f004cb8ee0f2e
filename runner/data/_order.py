"""The order of the examples of an epoch, and the batches into which it is cut: functions of their arguments alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from runner.data._reading import Chunk, chunk


def chunks(
    total: int,
    size: int | None,
    *,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    start: int = 0,
) -> Iterator[Chunk]:
    """Yield what a `Reader` needs to read the batches of one epoch of `total` examples; arguments as of `batches`."""
    size = whole_size(size, total)
    indices = torch.split(order(total, size, epoch, seed, shuffle, drop_last), size)
    for number, index in enumerate(indices[start:], start):
        yield chunk(seed, epoch, number, index)


def count(source: Any, size: int | None, drop_last: bool = False) -> int:
    """Return the number of batches of an epoch; the arguments are those of `batches`."""
    total = len(source)
    size = whole_size(size, total)
    return total // size if drop_last else -(-total // size)


def order_of(total: int, seed: int, epoch: int) -> Tensor:
    """Return the indices of `total` examples in the order of one epoch, int64 of shape (total,)."""
    # One generator per epoch: the order of epoch 7 can be had without drawing the six before it.
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(total, generator=generator)


def order(total: int, size: int, epoch: int, seed: int, shuffle: bool, drop_last: bool) -> Tensor:
    """Return the indices of the examples of one epoch in their order, int64."""
    indices = order_of(total, seed, epoch) if shuffle and size < total else torch.arange(total)
    return indices[: total - total % size] if drop_last else indices


def whole_size(size: int | None, total: int) -> int:
    """Return the number of examples of a batch: `size`, or all where it is None or more than there are."""
    assert size is None or size > 0, size
    return total if size is None else min(size, total)
