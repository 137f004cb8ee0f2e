"""Input of many models at each step: batches, each run's in its own order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from runner.data import Batch, Tensors, count, nests, order_of
from runner.training.run import Run


class Pool:
    """The data of all runs in two tensors: one copy where all runs have the same data, else one run's after the other.

    copies: False where nothing writes into batches, which may then be views of the first run's data.
    """

    def __init__(self, sources: Sequence[Tensors], copies: bool = True) -> None:
        first, self.n, self.size = sources[0], len(sources), len(sources[0])
        self.shared = all(same(source, first) for source in sources)
        different = [first] if self.shared else sources
        if self.shared and not copies:
            self.x, self.y = first.x, first.y
        else:
            self.x, self.y = torch.cat([s.x for s in different]), torch.cat([s.y for s in different])
        self.offsets = torch.arange(self.n, device=self.x.device).mul_(0 if self.shared else self.size).unsqueeze(1)

    def slice(self, start: int, end: int) -> Batch:
        """Return examples `start` to `end` of every run, in the data's order: x and y of (N, end - start, ...)."""
        x, y = (self._apart(part)[:, start:end] for part in (self.x, self.y))
        return x, y

    def at(self, index: Tensor) -> Batch:
        """Return the examples that `index`, of shape (N, batch), picks for each run: x and y of (N, batch, ...)."""
        rows = (index + self.offsets).flatten()
        x, y = (part.index_select(0, rows).view(*index.shape, *part.shape[1:]) for part in (self.x, self.y))
        return x, y

    def _apart(self, part: Tensor) -> Tensor:
        return part.expand(self.n, *part.shape) if self.shared else part.view(self.n, self.size, *part.shape[1:])


def same(a: Tensors, b: Tensors) -> bool:
    """Return whether two sources hold equal tensors of equal types, in the same order in memory."""
    if a is b:
        return True
    one, other = (a.x, a.y), (b.x, b.y)
    return nests.key(one) == nests.key(other) and all(
        p is q or (p.stride() == q.stride() and torch.equal(p, q))
        for p, q in zip(nests.leaves(one), nests.leaves(other), strict=True)
    )


class Feed:
    """The batches of every step: those of `Run.batches` of each run, x and y of shape (N, batch, ...).

    The orders of an epoch are on the device, one for all runs of equal seeds. `next` moves on to a batch and returns
    its size; `batch` picks it out, with nothing from the host, so that a step can be recorded.

    pool: the training data of the runs.
    """

    def __init__(self, runs: Sequence[Run], pool: Pool) -> None:
        trainer, first = runs[0].settings.trainer, runs[0]
        self.pool, self._runs, device = pool, list(runs), pool.x.device
        self._size = min(trainer.batch_size or pool.size, pool.size)
        self.whole = count(first.data.train, trainer.batch_size) == 1
        self._end = pool.size - pool.size % self._size if trainer.drop_last else pool.size
        self._epochs = [run.state.step // run.steps_per_epoch for run in runs]
        kinds: dict[Any, int] = {}
        owner = [
            kinds.setdefault((_seed(run), epoch), len(kinds)) for run, epoch in zip(runs, self._epochs, strict=True)
        ]
        self._firsts = [owner.index(kind) for kind in range(len(kinds))]
        self._owner = torch.tensor(owner, device=device) if len(kinds) < len(runs) else None
        self._orders = torch.empty((len(kinds), 0 if self.whole else self._end), dtype=torch.int64, device=device)
        self._within = torch.arange(self._size, device=device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)  # of the batch within the orders
        self._at = first.state.step % first.steps_per_epoch * self._size
        self._begins = True

    def next(self) -> int:
        """Move on to the next batch, and return the number of its examples."""
        if self.whole:
            return self.pool.size
        if self._at >= self._end:
            self._epochs, self._at, self._begins = [epoch + 1 for epoch in self._epochs], 0, True
        if self._begins:
            orders = [_order(self._runs[i], self._epochs[i], self.pool.size)[: self._end] for i in self._firsts]
            self._orders.copy_(torch.stack(orders))
            self.place.fill_(self._at - self._size)
            self._begins = False
        size = min(self._size, self._end - self._at)
        self._at += self._size
        return size

    def batch(self, size: int) -> Batch:
        """Return the batch that `next` has moved on to. size: what it has returned."""
        if self.whole:
            return self.pool.slice(0, self.pool.size)
        self.place.add_(self._size)
        index = self._orders.index_select(1, self._within[:size] + self.place)
        return self.pool.at(index if self._owner is None else index.index_select(0, self._owner))


def _seed(run: Run) -> int | None:
    return run.settings.seed if run.settings.trainer.shuffle else None


def _order(run: Run, epoch: int, total: int) -> Tensor:
    return order_of(total, run.settings.seed, epoch) if run.settings.trainer.shuffle else torch.arange(total)
