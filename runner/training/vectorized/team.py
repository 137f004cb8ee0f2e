"""Runs divided among threads, one program each; and how much faster that is than one run after the other."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from runner.model import host
from runner.settings import random_state
from runner.training.loop import train
from runner.training.machine import cores
from runner.training.run import Run
from runner.training.vectorized.program import Program
from runner.training.vectorized.testing import tested_of

#: Parameters times examples of one step, over all members, from which a second thread is worth its while: about 1 ms.
WORTH = 10_000_000
#: Steps before the clock starts, steps that are timed at most, and seconds after which no more are taken.
WARM, STEPS, SECONDS = 3, 30, 0.3
#: Times that `gain` measures both ways, in turns. The fastest counts: others were disturbed.
TURNS = 3

T = TypeVar("T")


class Team:
    """The runs as one program for each thread; runs with equal optimizer settings are neighbours in a program.

    A context manager: the threads end with it.
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
        for program in self.programs:
            program.close()

    def block(self, n: int) -> NDArray[np.float64]:
        """Take `n` steps of every run, at most MOST, and return the losses before each.

        They are of shape (n, N), in the order of `runs`, and come from the device in one reading.
        """
        losses = torch.cat(self._each(lambda program, _: program.block(n)), 1).index_select(1, self._back)
        return host.array(losses).astype(np.float64)

    @property
    def rates(self) -> list[float]:
        """The learning rate of every run in the last step, in the order of `runs`."""
        rates = [rate for program in self.programs for rate in program.update.schedules.rates]
        return [rates[self._places[i]] for i in range(len(self.runs))]

    def release(self, chosen: Sequence[int]) -> None:
        """Copy the tensors of finished runs out of the stack. chosen: their numbers."""
        places = sorted(self._places[i] for i in chosen)
        for program, start in zip(self.programs, self._starts, strict=True):
            if own := [place - start for place in places if 0 <= place - start < len(program.runs)]:
                program.release(own)

    def validate(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """Return losses and metric values by name, of each run whose number is in `chosen`."""
        return self._of_each(chosen, lambda program, own: program.validation.values(own))

    def test(self, chosen: Sequence[int]) -> None:
        """Measure finished runs with the weights that they are tested with. chosen: their numbers."""
        for i, tested in zip(chosen, self._of_each(chosen, tested_of), strict=True):
            self.runs[i].together = tested

    def _of_each(self, chosen: Sequence[int], work: Callable[[Program, list[int]], Sequence[T]]) -> list[T]:
        """Return a result for each of the runs `chosen`. work: of a program and the numbers of its runs among them."""
        places = [self._places[i] for i in chosen]

        def of_program(program: Program, start: int) -> dict[int, T]:
            own = [place for place in places if 0 <= place - start < len(program.runs)]
            return dict(zip(own, work(program, [place - start for place in own]) if own else [], strict=True))

        results = {place: of_run for part in self._each(of_program) for place, of_run in part.items()}
        return [results[place] for place in places]

    def _each(self, work: Callable[[Program, int], T]) -> list[T]:
        first, *others = zip(self.programs, self._starts, strict=True)
        # This thread takes a share as well: it has nothing else to do, and one less must be woken up.
        futures = [self._pool.submit(work, *other) for other in others] if self._pool is not None else []
        try:
            result = work(*first)
        finally:
            wait(futures)
        return [result, *(future.result() for future in futures)]


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
    """Set torch's threads and determinism for a block as `run` asks, but with one thread for each operation.

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


def gain(make: Callable[[int], Sequence[Run]], count: int) -> float:
    """Return the time of a step of `count` runs one after the other, divided by that of one program.

    make: prepares that many similar runs, with more steps left than are measured; they are of no use afterwards.
    """
    together, alone = make(count), make(1)[0]
    many, one = [], []
    for _ in range(TURNS):
        with restrained(alone), Team(together) as team:
            many.append(_seconds(team.block(1) for _ in itertools.count()))
        one.append(_seconds(train(alone.state, alone.batches(), alone.step)))
    return min(one) * count / min(many)


def _seconds(steps: Iterator[Any]) -> float:
    """Measure the seconds of one step."""
    for _ in range(WARM):
        next(steps)
    taken, begun = 0, time.perf_counter()
    while taken < STEPS and time.perf_counter() - begun < SECONDS:
        next(steps)
        taken += 1
    return (time.perf_counter() - begun) / taken
