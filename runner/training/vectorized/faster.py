"""Whether training runs as one program is faster than one after the other: some steps of both are measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runner.training.loop import train
from runner.training.run import Run
from runner.training.vectorized.team import Team, restrained

#: Steps before the clock starts, steps that are timed at most, and seconds after which no more are taken.
WARM, STEPS, SECONDS = 3, 30, 0.3
#: Both are measured so often, in turns; the fastest counts: others were disturbed.
TURNS = 3


def gain(make: Callable[[int], Sequence[Run]], count: int) -> float:
    """How many times as fast a step of all `count` runs is as one program. Below 1: one after the other is faster.

    make: gives so many runs that are like them, with more steps to go than are measured, to be thrown away afterwards.
    """
    together, alone = make(count), make(1)[0]
    many, one = [], []
    for _ in range(TURNS):
        with restrained(alone), Team(together) as team:
            many.append(_seconds(iter(team.step, None)))
        one.append(_seconds(train(alone.state, alone.batches(), alone.step)))
    return min(one) * count / min(many)


def _seconds(steps: Iterator[Any]) -> float:
    """Of one step."""
    for _ in range(WARM):
        next(steps)
    taken, begun = 0, time.perf_counter()
    while taken < STEPS and time.perf_counter() - begun < SECONDS:
        next(steps)
        taken += 1
    return (time.perf_counter() - begun) / taken
