"""The cost of the records of many runs that are trained as one program, without their training.

Runs of `digits_mlp` are prepared and trained beforehand, without observers and without their ends. Then all of it is
recorded as the command records it, in a new SQLite store: runs opened with their params, tags and first files, the
losses of all steps and validations, checkpoints, predictions and test values, the ends.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks import composing, ends, whole

EPOCHS = 5
#: Runs, and seconds that their records may take on two cores.
RUNS, SECONDS = 1024, 20.0
#: Runs of one program: stacks of more need memory that the records do not.
STACK = 256


def jobs(count: int) -> list[Any]:
    """Return jobs of `digits_mlp` with other learning rates and seeds; each takes 100 steps."""
    from runner.sweeps.manifest import Job

    settings = composing.settings("digits_mlp")
    settings.trainer.epochs, settings.trainer.threads, settings.tracking.uri = EPOCHS, 1, whole.URI
    result = []
    for number in range(count):
        seed, lr = number // 8, 0.003 * 2 ** -(number % 8 / 2)
        config = dataclasses.asdict(settings)
        config["seed"], config["optimizer"]["lr"] = seed, lr
        varied = {"optimizer.lr": f"{lr:.6g}", "seed": str(seed)}
        words = ["experiments=digits_mlp", *(f"{key}={value}" for key, value in varied.items())]
        result.append(Job(number, words, varied, config))
    return result


def seconds(count: int) -> tuple[float, float, float]:
    """Record `count` runs. Return the seconds for it, those of them for outputs and test values, and the most GB.

    The outputs and the test values of all runs of a program are computed in one pass, at the end of its training.
    """
    from runner.sweeps.run import together
    from runner.sweeps.run.drawing import rendering
    from runner.sweeps.run.job import SweepInfo
    from runner.sweeps.run.open_runs import Desk
    from runner.tracking import recording
    from runner.training import finish
    from runner.training.drive import conclude

    Path(whole.URI.removeprefix("sqlite:///")).unlink(missing_ok=True)
    with recording.recording(whole.URI, whole.EXPERIMENT, "sweep", {}, {}, {}) as parent, rendering(1) as renderer:
        info = SweepInfo(parent.run_id, "digits_mlp", "valid/loss", whole.URI)
        desk = Desk(info, renderer, together.WAITING, together.BATCH)
        members = [member for job in jobs(count) if (member := desk.begin(job)) is not None]
        events, measured = _trained([member.run for member in members])
        begun = time.perf_counter()
        observers = desk.open(members)
        for at in events:
            for own, event in zip(observers, at, strict=True):
                for observer in own if event is not None else ():
                    observer.record(event)
        for number, (member, own) in enumerate(zip(members, observers, strict=True)):
            conclude(member.run, (member.run.recorder, *own), finish.draw)
            desk.end(members[number], None)
        desk.close()
        taken = time.perf_counter() - begun
        statuses = {outcome.status for outcome in desk.outcomes.values()}
        assert statuses == {"FINISHED"}, statuses
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return taken + measured, measured, most


class _Events:
    """An observer that collects the events of training, which it is given as the record of a run is."""

    takes_steps = True

    def __init__(self) -> None:
        self.events: list[Any] = []

    def record(self, event: Any) -> None:
        """Collect an event."""
        self.events.append(event)


def _trained(runs: list[Any]) -> tuple[list[tuple[Any, ...]], float]:
    """Train the runs. Return the events of all of them, moment by moment, and the seconds of their last measuring."""
    from runner.training.vectorized import drive_many

    observers = [_Events() for _ in runs]
    with ends.ending(), _timed() as measured:
        for start in range(0, len(runs), STACK):
            part = slice(start, start + STACK)
            errors = drive_many(runs[part], [[observer] for observer in observers[part]])
            assert not any(errors), errors
    # A program that was slower has more blocks of steps.
    return list(zip_longest(*(observer.events for observer in observers))), sum(measured)


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Yield a list that gets the seconds of each measuring of runs that have ended."""
    from runner.training.vectorized.team import Team

    seconds: list[float] = []
    usual = Team.test

    def timed(team: Team, chosen: Any) -> None:
        begun = time.perf_counter()
        usual(team, chosen)
        seconds.append(time.perf_counter() - begun)

    Team.test = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Team.test = usual  # type: ignore[method-assign]
