"""Jobs of a sweep whose models are trained as one program; each is recorded in a run of its own."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sweeps.manifest import Job
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.one_by_one import run_one_by_one
from runner.sweeps.run.open_runs import Desk, Member
from runner.sweeps.run.outcome import Outcome
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.training.machine.time_limit import TimeLimit
    from runner.training.run import Run

#: Ended runs that may wait for plots drawn by other processes, and runs that are closed at once.
WAITING, BATCH = 8, 64
#: Most members of a group that is measured; the time per member does not change beyond.
MEASURED = 64
#: Epochs of the runs that are measured: they end before.
ENDLESS = 1_000_000


def run_together(jobs: list[Job], info: SweepInfo, say: Callable[[str], None], measure: bool = False) -> list[Outcome]:
    """Run the jobs: those that can be stacked as few programs, the others one by one.

    say: receives a line for each group, and for jobs that run alone one with the reason.
    measure: time some steps of each group both ways and take the faster way.
    Raises Interrupted when a signal stops the process, after all records are closed.
    """
    from runner.sweeps.run.drawing import rendering
    from runner.training.vectorized import groups

    with Signals() as signals, rendering(len(jobs)) as renderer:
        desk = Desk(info, renderer, WAITING, BATCH)
        members: list[Member] = []
        try:
            for job in jobs:
                signals.check()
                if (member := desk.begin(job)) is not None:
                    members.append(member)
            together, alone = groups([member.run for member in members], say)
            for numbers in together:
                signals.check()
                group = [members[i] for i in numbers]
                times = _gain(desk, group) if measure else math.inf
                if times < 1:
                    alone |= dict.fromkeys(numbers, f"one program of them is only {times:.2g} times as fast")
                    continue
                measured = f", {_times(times)} times as fast as one after the other" if measure else ""
                say(f"jobs {_numbers(group)} are trained as one program{measured}")
                _train(desk, group, signals)
        finally:
            for member in members:
                member.run.close()
    for reason in dict.fromkeys(alone.values()):
        say(f"jobs {_numbers([members[i] for i in alone if alone[i] == reason])} run one by one: {reason}")
    others = run_one_by_one([members[i].job for i in alone], info) if alone else []
    outcomes = desk.outcomes | {outcome.number: outcome for outcome in others}
    return [outcomes[job.number] for job in jobs]


def _train(desk: Desk, members: list[Member], signals: Signals) -> None:
    from runner.tracking.identity import TOGETHER
    from runner.training.machine.time_limit import TimeLimit
    from runner.training.vectorized import drive_many

    for member in members:
        member.context.tags[TOGETHER] = str(len(members))
    limits = [TimeLimit(member.settings.trainer.time_limit) for member in members]
    try:
        observers = desk.open(members)
        drive_many(
            [member.run for member in members],
            observers,
            lambda: _reason(signals, limits),
            lambda number, error: desk.end(members[number], error),
            desk.renderer.draw,
        )
    except BaseException as error:
        desk.close()
        for member in members:
            if member.job.number not in desk.outcomes:
                desk.end(member, error)
        if not isinstance(error, Exception):
            raise
    finally:
        desk.close()
    signals.check()


def _gain(desk: Desk, group: list[Member]) -> float:
    """Measure how many times as fast the group is as one program."""
    from runner.training.prepare import prepare
    from runner.training.vectorized.team import gain

    runs: list[Run] = []

    def make(count: int) -> "list[Run]":
        for member in group[:count]:
            trainer = member.settings.trainer
            endless = replace(trainer, epochs=ENDLESS) if trainer.steps is None else replace(trainer, steps=ENDLESS)
            runs.append(prepare(replace(member.settings, trainer=endless), desk.info.study, known=desk.known))
            desk.shared.take(runs[-1])
        return runs[-count:]

    try:
        return gain(make, min(len(group), MEASURED))
    finally:
        for run in runs:
            run.close()


def _reason(signals: Signals, limits: list["TimeLimit"]) -> BaseException | None:
    return signals.stop() or next((reason for limit in limits if (reason := limit.stop()) is not None), None)


def _times(times: float) -> str:
    return f"{times:.2g}" if times < 10 else f"{times:.0f}"


def _numbers(members: list[Member]) -> str:
    """Return the job numbers with ranges, as in `0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(member.job.number for member in members):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
