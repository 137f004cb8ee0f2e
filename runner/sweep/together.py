"""Jobs of a sweep whose models are trained as one program; each has its own run, as if it had been alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.signals import Signals
from runner.sweep.desk import Desk, Member
from runner.sweep.job import Told
from runner.sweep.manifest import Job
from runner.sweep.one_by_one import run_one_by_one
from runner.sweep.outcome import Outcome

if TYPE_CHECKING:
    from runner.limit import TimeLimit

#: Runs that have ended and are closed later: their pictures are drawn meanwhile.
WAITING = 8


def run_together(jobs: list[Job], told: Told, say: Callable[[str], None]) -> list[Outcome]:
    """Run the jobs: those that can be stacked as few programs, and the others one by one.

    say: is told of every group, and of every job that runs by itself why it does.
    Raises Interrupted when the process was told to stop, with all records closed.
    """
    from runner.sweep.rendering import rendering
    from runner.vectorized import groups

    with Signals() as signals, rendering() as renderer:
        desk = Desk(told, renderer, WAITING)
        members = [member for job in jobs if (member := desk.begin(job)) is not None]
        try:
            together, alone = groups([member.run for member in members])
            for numbers in together:
                say(f"jobs {_numbers([members[i] for i in numbers])} are trained as one program")
                _train(desk, [members[i] for i in numbers], signals)
        finally:
            for member in members:
                member.run.close()
    for reason in dict.fromkeys(alone.values()):
        say(f"jobs {_numbers([members[i] for i in alone if alone[i] == reason])} run one by one: {reason}")
    left = run_one_by_one([members[i].job for i in alone], told) if alone else []
    outcomes = desk.outcomes | {outcome.number: outcome for outcome in left}
    return [outcomes[job.number] for job in jobs]


def _train(desk: Desk, members: list[Member], signals: Signals) -> None:
    from runner.limit import TimeLimit
    from runner.vectorized import drive_many

    limits = [TimeLimit(member.settings.trainer.time_limit) for member in members]
    try:
        observers = [desk.open(member) for member in members]
        drive_many(
            [member.run for member in members],
            observers,
            lambda: _reason(signals, limits),
            lambda number, error: desk.end(members[number], error),
        )
    except BaseException as error:
        desk.close()
        for member in members:
            if member.job.number not in desk.outcomes:
                desk.end(member, error)
        raise
    finally:
        desk.close()
    signals.check()


def _reason(signals: Signals, limits: list["TimeLimit"]) -> BaseException | None:
    return signals.stop() or next((reason for limit in limits if (reason := limit.stop()) is not None), None)


def _numbers(members: list[Member]) -> str:
    """`0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(member.job.number for member in members):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
