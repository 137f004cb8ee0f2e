"""Training of many runs of one architecture as one program; the numbers of each are those of a run alone."""

from collections.abc import Callable, Iterable, Sequence

from runner.settings import memory
from runner.training import finish
from runner.training.drive import Draw, Stop, conclude
from runner.training.events import Observer
from runner.training.run import Run
from runner.training.vectorized.following import Following, Member
from runner.training.vectorized.groups import groups as groups
from runner.training.vectorized.team import Team, restrained

#: (number of the run, the error that ended it, or None)
Ended = Callable[[int, BaseException | None], None]


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
        following = Following(team, members)
        while all(member.goes_on for member in members):
            following.block()
            if (reason := stop()) is not None:
                following.follow()
                for member in members:
                    member.interrupt(reason)
        team.test([i for i, member in enumerate(members) if not member.goes_on and member.error is None])
        team.release([i for i, member in enumerate(members) if not member.goes_on])
    for member in members:
        if not member.goes_on:
            _end(member, stop, ended, draw)
    return [member for member in members if member.goes_on]


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
