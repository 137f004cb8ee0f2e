"""The best weights so far of many models, in one copy of the stack."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from runner.model import host
from runner.training.run import Run
from runner.training.state import checkpoint
from runner.training.state.best import Weights
from runner.training.vectorized.stacked import Stacked


class Bests:
    """The best weights of `runs`, on the models' device; the `best` of each run reads its own when they are asked for.

    Between two steps, models are marked whose present weights are their best; these are copied before the next step.
    """

    def __init__(self, stacked: Stacked, runs: Sequence[Run]) -> None:
        self.runs, self._names = list(runs), list(runs[0].model.state_dict())
        everything = {**stacked.leaves, **stacked.buffers}
        self._present = {name: everything[name].detach() for name in self._names}
        self._copies: dict[str, Tensor] = {}
        self._marked: list[int] = []
        for i, (run, weights) in enumerate(zip(runs, [run.best.weights for run in runs], strict=True)):
            run.best.copy = partial(self._mark, i)
            if weights is not None:
                for name in self._names:
                    self._copy(name)[i].copy_(weights[name])
                run.best.copied = partial(self.weights, i)

    def flush(self) -> None:
        """Copy the weights of the models that are marked."""
        if not self._marked:
            return
        whole = len(self._marked) == len(self.runs)
        rows = None if whole else torch.tensor(self._marked, device=self._first.device)
        for name, present in self._present.items():
            copy = self._copy(name)
            if rows is None:
                copy.copy_(present)
            else:
                copy.index_copy_(0, rows, present.index_select(0, rows))
        self._marked.clear()

    def weights(self, i: int) -> Weights:
        """Return the best weights of model i by name, on the CPU; where the models are there, views of the copy."""
        self.flush()
        return {name: host.tensor(copy[i]) for name, copy in self._copies.items()}

    @contextlib.contextmanager
    def shown(self, chosen: Sequence[int]) -> Iterator[None]:
        """Put the best weights of models into the stack for a block, and their own back after it."""
        self.flush()
        rows = torch.tensor([i for i in chosen if self.runs[i].best.copied is not None], device=self._first.device)
        own = {name: self._present[name].index_select(0, rows) for name in self._copies if len(rows)}
        for name in own:
            self._present[name].index_copy_(0, rows, self._copies[name].index_select(0, rows))
        try:
            yield
        finally:
            for name, before in own.items():
                self._present[name].index_copy_(0, rows, before)

    def release(self, chosen: Sequence[int]) -> None:
        """Give runs that leave the stack copies on the CPU, which are parts of one for all of them."""
        self.flush()
        held = [i for i in chosen if self.runs[i].best.copied is not None]
        if held:
            rows = torch.tensor(held, device=self._first.device)
            parts = [host.tensor(copy.index_select(0, rows)).unbind() for copy in self._copies.values()]
            for i, own in zip(held, zip(*parts, strict=True), strict=True):
                self.runs[i].best.copied = dict(zip(self._copies, own, strict=True))
        for i in chosen:
            self.runs[i].best.copy = checkpoint.copy

    def _mark(self, i: int, model: nn.Module) -> Callable[[], Weights]:
        self._marked.append(i)
        return partial(self.weights, i)

    def _copy(self, name: str) -> Tensor:
        if name not in self._copies:
            self._copies[name] = torch.empty_like(self._present[name])
        return self._copies[name]

    @property
    def _first(self) -> Tensor:
        return self._present[self._names[0]]
