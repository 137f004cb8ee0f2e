"""Many runs of one architecture trained as one program: the numbers of each are those that it would have alone."""

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
    """A run among others, and who is told of it."""

    number: int
    run: Run
    told: Sequence[Observer]
    error: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        return self.error is None and not self.run.stopped and self.run.state.step < self.run.steps


@memory.told
def drive_many(
    runs: Sequence[Run],
    observers: Sequence[Iterable[Observer]],
    stop: Stop = lambda: None,
    ended: Ended = lambda number, error: None,
    draw: Draw = finish.draw,
) -> list[BaseException | None]:
    """Train all runs to their ends and tell the observers of each what `drive` would tell them.

    runs: one of the lists that `groups` gives. Each is trained from where it stands.
    stop: is asked between two steps; what it gives ends every run that is under way, after a checkpoint.
    draw: writes the plots of a run that has ended.
    ended: is told at once when a run has ended and its observers know.
    Returns what ended each run: None, or the error. One that fails leaves the others alone.
    """
    members = [Member(i, run, (run.history_, *told)) for i, (run, told) in enumerate(zip(runs, observers, strict=True))]
    for member in members:
        member.run.stop = stop
        if not member.goes_on:
            _end(member, stop, ended, draw)
    left = [member for member in members if member.goes_on]
    # What follows a training is part of it: meanwhile, other processes draw the pictures of those that have ended.
    with restrained(runs[0]):
        while left:
            left = _until_one_ends(left, stop, ended, draw)
    return [member.error for member in members]


def _until_one_ends(members: list[Member], stop: Stop, ended: Ended, draw: Draw) -> list[Member]:
    """Train together until some have come to their ends; the rest is given back."""
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
    for observer in member.told:
        observer.record(step)
    record(member.told, member.run.after(step, lambda run: values))


def _validated(team: Team) -> dict[int, dict[str, float]]:
    """Validate those runs whose step is followed by that: the number of each, and its values."""
    runs = team.runs
    due = [i for i, run in enumerate(runs) if run.state.step % run.steps_per_epoch == 0 and run.validation_due]
    return dict(zip(due, team.look(due), strict=True)) if due else {}


def _interrupt(member: Member, reason: BaseException) -> None:
    if member.error is None:
        try:
            interrupt(member.run, member.told, reason)
            member.error = reason
        except Exception as error:
            _rescue(member, error)


def _rescue(member: Member, error: Exception) -> None:
    member.error = error
    rescue(member.run, member.told, error)


def _end(member: Member, stop: Stop, ended: Ended, draw: Draw) -> None:
    if member.error is None:
        try:
            conclude(member.run, member.told, draw)
        except Exception as error:
            member.error = error
        except BaseException as reason:
            if reason is not stop():
                raise
            member.error = reason
    ended(member.number, member.error)
