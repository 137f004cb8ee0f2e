"""Runs shared out to the processor's cores, each of which trains its share without waiting for the others."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

import torch
from torch import Tensor

from runner.settings import random_state
from runner.training.machine import cores
from runner.training.run import Run
from runner.training.vectorized.program import Program

#: Parameters times examples of one step, over all members, from which a second thread is worth its while: about 1 ms.
WORTH = 10_000_000

T = TypeVar("T")


class Team:
    """The runs as one program for each thread, in which neighbours are alike: they can take a step at once.

    A context: the threads end with it.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        n = _threads(runs)
        self._pool = ThreadPoolExecutor(n - 1, "train") if n > 1 else None
        size = -(-len(runs) // n)
        order = sorted(range(len(runs)), key=lambda i: _settings(runs[i]))
        self._places = {i: place for place, i in enumerate(order)}  # of each run, where it is among all programs'
        self._back = torch.tensor([self._places[i] for i in range(len(runs))], device=runs[0].device)
        self._starts = list(range(0, len(runs), size))
        self.programs = [Program([runs[i] for i in order[start : start + size]]) for start in self._starts]

    def __enter__(self) -> "Team":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def step(self) -> Tensor:
        """Every run takes a step. Its loss of each, (N,), as before the step."""
        return torch.cat(self._each(lambda program, _: program.step())).index_select(0, self._back)

    def look(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """The values of the validation data for the runs with these numbers."""

        places = [self._places[i] for i in chosen]

        def look(program: Program, start: int) -> dict[int, dict[str, float]]:
            here = [place for place in places if 0 <= place - start < len(program.runs)]
            return dict(zip(here, program.look([place - start for place in here]) if here else [], strict=True))

        found = {place: values for part in self._each(look) for place, values in part.items()}
        return [found[place] for place in places]

    def _each(self, work: Callable[[Program, int], T]) -> list[T]:
        first, *others = zip(self.programs, self._starts, strict=True)
        # This thread takes a share as well: it has nothing else to do, and one less must be woken up.
        begun = [self._pool.submit(work, *other) for other in others] if self._pool is not None else []
        try:
            found = work(*first)
        finally:
            wait(begun)
        return [found, *(other.result() for other in begun)]


def _settings(run: Run) -> str:
    return repr({key: value for key, value in run.state.optimizer.param_groups[0].items() if key != "params"})


def _threads(runs: Sequence[Run]) -> int:
    first = runs[0]
    if first.device.type != "cpu":
        return 1
    examples = min(first.settings.trainer.batch_size or len(first.data.train), len(first.data.train))  # type: ignore[arg-type]
    work = len(runs) * examples * sum(p.numel() for p in first.model.parameters())
    most = random_state.said(first.settings.trainer) or cores.share()
    return max(1, min(most, len(runs), work // WORTH))


@contextlib.contextmanager
def restrained(run: Run) -> Iterator[None]:
    """What `run` and others like it are trained in: as they want it, but each operation with one thread.

    With several, an operation waits for the slowest; where others want the cores as well, that costs more than it
    gains.
    """
    random_state.restrain(run.settings.trainer, run.threads)
    if run.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        random_state.restrain(run.settings.trainer, run.threads)
