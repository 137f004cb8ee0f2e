"""Input of many models at each step: batches, each run's in its own order, and random numbers of dropout."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.data import Batch, Tensors, count, order_of
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
    pairs = (a.x, b.x), (a.y, b.y)
    return a is b or all(
        p is q or (p.dtype == q.dtype and p.stride() == q.stride() and torch.equal(p, q)) for p, q in pairs
    )


class RandomStates:
    """One random generator for each model, which yields the numbers that the model would draw if it trained alone.

    states: of each model, see `generators.random_state`.
    """

    def __init__(self, states: Sequence[dict[str, Any]], device: torch.device) -> None:
        self.states, self.device = list(states), device
        self.key = "torch" if device.type == "cpu" else device.type
        self.generators = [torch.Generator(device) for _ in states]
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state[self.key])

    def state(self, i: int) -> dict[str, Any]:
        """Return the random state of model i, as `generators.random_state` would if the model trained alone."""
        return {**self.states[i], self.key: self.generators[i].get_state()}

    def dropout_mask(self, shape: Sequence[int], drop: Sequence[float], dtype: torch.dtype) -> Tensor:
        """Return the factors of dropout, of shape (N, *shape): 0 with probability p, else 1 / (1 - p).

        shape: of one model's mask. drop: p of each model.
        """
        # The same calls as torch.nn.functional.dropout's on the CPU: one draw for each element, in their order.
        noise = torch.empty((len(drop), *shape), dtype=dtype, device=self.device)
        for row, generator, p in zip(noise.unbind(), self.generators, drop, strict=True):
            if 0 < p < 1:
                row.bernoulli_(1 - p, generator=generator)
            else:
                row.fill_(1 - p)
        remaining = torch.tensor([1 - p if p < 1 else 1.0 for p in drop], dtype=dtype, device=self.device)
        return noise.div_(remaining.view(-1, *(1 for _ in shape)))


def feed(runs: Sequence[Run], pool: Pool) -> Iterator[Batch]:
    """Yield the batches of every step without end: those of `Run.batches` of each run, x and y of (N, batch, ...).

    pool: the training data of the runs.
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
