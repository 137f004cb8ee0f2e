"""The batches of many runs: each in its own order, of the data that they share or of each its own."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from runner.data import Batch, Tensors, count, order_of
from runner.training.run import Run


class Pool:
    """What all runs read: one copy of what is the same for all, else one after the other."""

    def __init__(self, sources: Sequence[Tensors], copies: bool = True) -> None:
        """copies: somebody may write into what is read; False where nobody does, so that it may be the data itself."""
        first, self.n, self.size = sources[0], len(sources), len(sources[0])
        self.shared = all(same(source, first) for source in sources)
        kept = [first] if self.shared else sources
        if self.shared and not copies:
            self.x, self.y = first.x, first.y
        else:
            self.x, self.y = torch.cat([s.x for s in kept]), torch.cat([s.y for s in kept])
        self.offsets = torch.arange(self.n, device=self.x.device).mul_(0 if self.shared else self.size).unsqueeze(1)

    def slice(self, start: int, end: int) -> Batch:
        """Examples start to end of every run, (N, end - start, ...), in their own order."""
        x, y = (self._apart(part)[:, start:end] for part in (self.x, self.y))
        return x, y

    def at(self, index: Tensor) -> Batch:
        """index: (N, batch), of each run's own examples."""
        rows = (index + self.offsets).flatten()
        x, y = (part.index_select(0, rows).view(*index.shape, *part.shape[1:]) for part in (self.x, self.y))
        return x, y

    def _apart(self, part: Tensor) -> Tensor:
        return part.expand(self.n, *part.shape) if self.shared else part.view(self.n, self.size, *part.shape[1:])


def same(a: Tensors, b: Tensors) -> bool:
    return a is b or all(p is q or (p.dtype == q.dtype and torch.equal(p, q)) for p, q in ((a.x, b.x), (a.y, b.y)))


def feed(runs: Sequence[Run], pool: Pool) -> Iterator[Batch]:
    """Every step's batches, (N, batch, ...), without end: what `Run.batches` gives each of the runs.

    pool: of their training data.
    """
    trainer, first = runs[0].settings.trainer, runs[0]
    if count(first.data.train, trainer.batch_size) == 1:
        whole = pool.slice(0, pool.size)
        while True:
            yield whole
    size = trainer.batch_size or pool.size
    end = pool.size - pool.size % size if trainer.drop_last else pool.size
    epochs, start = [run.state.step // run.steps_per_epoch for run in runs], first.state.step % first.steps_per_epoch
    while True:
        orders = [_order(run, epoch, pool.size)[:end] for run, epoch in zip(runs, epochs, strict=True)]
        for index in torch.split(torch.stack(orders).to(pool.x.device), size, 1)[start:]:
            yield pool.at(index)
        epochs, start = [epoch + 1 for epoch in epochs], 0


def _order(run: Run, epoch: int, total: int) -> Tensor:
    return order_of(total, run.settings.seed, epoch) if run.settings.trainer.shuffle else torch.arange(total)
