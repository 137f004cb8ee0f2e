"""Training of many runs of one architecture as one program; the numbers of each are those of a run alone."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runner.model import host
from runner.settings import memory
from runner.training import finish
from runner.training.drive import Draw, Stop, conclude, interrupt, record, rescue
from runner.training.events import Observer, Step
from runner.training.finite import Diverged
from runner.training.run import Run
from runner.training.vectorized.groups import groups as groups
from runner.training.vectorized.stacked import release
from runner.training.vectorized.team import Team, restrained

#: (number of the run, the error that ended it, or None)
Ended = Callable[[int, BaseException | None], None]


@dataclass
class Member:
    """A run among others, and the observers of its events."""

    number: int
    run: Run
    observers: Sequence[Observer]
    error: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """True if there are steps left."""
        return self.error is None and not self.run.stopped and self.run.state.step < self.run.steps


@memory.explained
def drive_many(
    runs: Sequence[Run],
    observers: Sequence[Iterable[Observer]],
    stop: Stop = lambda: None,
    ended: Ended = lambda number, error: None,
    draw: Draw = finish.draw,
) -> list[BaseException | None]:
    """Train all runs to the end; the observers of each record the events that `drive` would give them.

    runs: one group of those that `groups` returns. Each goes on from its present step.
    observers: of each run.
    stop: is called between two steps; an error that it returns ends every run that is left, after a checkpoint.
    ended: is called with the number of a run and its error, or None, as soon as the run has ended.
    draw: writes the plots of a run that has ended.
    Returns the error of each run, or None. A run that fails does not affect the others.
    """
    members = [
        Member(number, run, (run.recorder, *own)) for number, (run, own) in enumerate(zip(runs, observers, strict=True))
    ]
    for member in members:
        member.run.stop = stop
        if not member.goes_on:
            _end(member, stop, ended, draw)
    left = [member for member in members if member.goes_on]
    # The end of a run is inside as well: other processes draw the plots of ended runs meanwhile and need the cores.
    with restrained(runs[0]):
        while left:
            left = _until_one_ends(left, stop, ended, draw)
    return [member.error for member in members]


def _until_one_ends(members: list[Member], stop: Stop, ended: Ended, draw: Draw) -> list[Member]:
    """Train together until some runs end, and return the members that have steps left."""
    with Team([member.run for member in members]) as team:
        while all(member.goes_on for member in members):
            _step(team, members)
            if (reason := stop()) is not None:
                for member in members:
                    _interrupt(member, reason)
    for member in members:
        if not member.goes_on:
            release(member.run.model, member.run.state.optimizer)
            _end(member, stop, ended, draw)
    return [member for member in members if member.goes_on]


def _step(team: Team, members: list[Member]) -> None:
    losses = team.step()
    numbers = host.numbers(losses)
    validated = _validated(team)
    for i, (member, loss, value) in enumerate(zip(members, losses.unbind(), numbers, strict=True)):
        try:
            _follow(member, Step(member.run.state.step, loss, value), validated.get(i, {}))
        except Exception as error:
            _rescue(member, error)


def _follow(member: Member, step: Step, values: dict[str, float]) -> None:
    if not math.isfinite(step.read()):
        raise Diverged(f"train/loss is {step.value} at step {step.step}")
    for observer in member.observers:
        observer.record(step)
    record(member.observers, member.run.after(step, lambda run: values))


def _validated(team: Team) -> dict[int, dict[str, float]]:
    """Validate the runs whose step ends an epoch with a validation; return the values by the runs' numbers."""
    runs = team.runs
    due = [i for i, run in enumerate(runs) if run.state.step % run.steps_per_epoch == 0 and run.validation_due]
    return dict(zip(due, team.validate(due), strict=True)) if due else {}


def _interrupt(member: Member, reason: BaseException) -> None:
    if member.error is None:
        try:
            interrupt(member.run, member.observers, reason)
            member.error = reason
        except Exception as error:
            _rescue(member, error)


def _rescue(member: Member, error: Exception) -> None:
    member.error = error
    rescue(member.run, member.observers, error)


def _end(member: Member, stop: Stop, ended: Ended, draw: Draw) -> None:
    if member.error is None:
        try:
            conclude(member.run, member.observers, draw)
        except Exception as error:
            member.error = error
        except BaseException as reason:
            if reason is not stop():
                raise
            member.error = reason
    ended(member.number, member.error)
