"""Training of many runs of one architecture as one program; the numbers of each are those of a run alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from runner.settings import memory
from runner.training import finish
from runner.training.drive import Draw, Stop, conclude, interrupt, record, rescue
from runner.training.events import Observer, Steps, deliver
from runner.training.finite import Diverged
from runner.training.run import Run
from runner.training.vectorized.blocks import Blocks
from runner.training.vectorized.groups import groups as groups
from runner.training.vectorized.schedules import after_epoch, after_step
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
    stop: is called between two blocks of steps, each of about a second at most; an error that it returns ends every run
        that is left, after a checkpoint.
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
    runs = [member.run for member in members]
    with Team(runs) as team:
        blocks = Blocks(runs)
        while all(member.goes_on for member in members):
            losses = team.block(blocks.begin())
            _follow(team, members, losses)
            blocks.end()
            if (reason := stop()) is not None:
                for member in members:
                    _interrupt(member, reason)
        team.release([i for i, member in enumerate(members) if not member.goes_on])
    for member in members:
        if not member.goes_on:
            _end(member, stop, ended, draw)
    return [member for member in members if member.goes_on]


def _follow(team: Team, members: list[Member], losses: NDArray[np.float64]) -> None:
    """Let everything follow from a block of steps. losses: of every step and run, (steps, N)."""
    finite = np.isfinite(losses)
    for i in np.flatnonzero(~finite.all(0)):
        _diverge(members[i], losses[:, i], int(finite[:, i].argmin()))
    validated = _validated(team, [i for i, member in enumerate(members) if member.error is None])
    for i, (member, own, rate) in enumerate(zip(members, losses.T.copy(), team.rates, strict=True)):
        if member.error is None:
            try:
                _after(member, own, rate, validated.get(i, {}))
            except Exception as error:
                _rescue(member, error)


def _after(member: Member, losses: NDArray[np.float64], rate: float, values: dict[str, float]) -> None:
    run = member.run
    deliver(member.observers, Steps(run.state.step - len(losses) + 1, losses))
    after_step(run)
    run.epoch = (
        run.state.step - 1
    ) // run.steps_per_epoch  # before the last step; epochs without a validation are over
    record(member.observers, run.ended(run.state.step, rate, lambda run: values, partial(after_epoch, run)))


def _diverge(member: Member, losses: NDArray[np.float64], bad: int) -> None:
    """End a run at the first of its steps whose loss is not finite, as if it had taken none after it."""
    run = member.run
    run.state.step -= len(losses) - bad - 1
    run.epoch = run.state.step // run.steps_per_epoch
    try:
        if bad:
            deliver(member.observers, Steps(run.state.step - bad, losses[:bad].copy()))
        raise Diverged(f"train/loss is {float(losses[bad])} at step {run.state.step}")
    except Exception as error:
        _rescue(member, error)


def _validated(team: Team, numbers: list[int]) -> dict[int, dict[str, float]]:
    """Validate the runs whose step ends an epoch with a validation; return the values by the runs' numbers."""
    runs = team.runs
    due = [i for i in numbers if runs[i].state.step % runs[i].steps_per_epoch == 0 and _is_due(runs[i])]
    return dict(zip(due, team.validate(due), strict=True)) if due else {}


def _is_due(run: Run) -> bool:
    trainer, epoch = run.settings.trainer, run.state.step // run.steps_per_epoch
    return epoch % trainer.validate_every == 0 or epoch == trainer.epochs


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
