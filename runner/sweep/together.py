"""Jobs of a sweep whose models are trained as one program; each has its own run, as if it had been alone."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.signals import Signals
from runner.sweep import job
from runner.sweep.job import Told
from runner.sweep.manifest import Job
from runner.sweep.outcome import Outcome

if TYPE_CHECKING:
    from runner.context import Context
    from runner.limit import TimeLimit
    from runner.run import Run
    from runner.settings import Settings
    from runner.tracker import Tracker


@dataclass
class Member:
    """A job under way among others."""

    job: Job
    settings: "Settings"
    context: "Context"
    run: "Run"
    record: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    tracker: "Tracker | None" = None

    @property
    def run_id(self) -> str:
        return self.tracker.run_id if self.tracker is not None else self.job.run_id


def run_together(jobs: list[Job], told: Told, say: Callable[[str], None]) -> list[Outcome]:
    """Run the jobs: those that can be stacked as few programs, and the others one by one.

    say: is told of every group, and of every job that runs by itself why it does.
    Raises Interrupted when the process was told to stop, with all records closed.
    """
    outcomes: dict[int, Outcome] = {}
    with Signals() as signals:
        members = _begun(jobs, told, outcomes)
        try:
            from runner.vectorized import groups

            together, alone = groups([member.run for member in members])
            for numbers in together:
                say(f"jobs {_numbers([members[i] for i in numbers])} are trained as one program")
                _train([members[i] for i in numbers], told, signals, outcomes)
        finally:
            for member in members:
                member.run.close()
    for reason in dict.fromkeys(alone.values()):
        say(f"jobs {_numbers([members[i] for i in alone if alone[i] == reason])} run one by one: {reason}")
    for i in alone:
        outcomes[members[i].job.number] = job.run(members[i].job, told)
    return [outcomes[j.number] for j in jobs]


def _begun(jobs: list[Job], told: Told, outcomes: dict[int, Outcome]) -> list[Member]:
    """The jobs ready to start; the outcomes of those that cannot."""
    members = []
    for one in jobs:
        settings, context = job.configured(one, told)
        try:
            members.append(Member(one, settings, context, job.begin(one, settings, told)))
        except Exception as error:
            outcomes[one.number] = job.failed(one, None, told, context, settings, one.run_id, error)
    return members


def _train(members: list[Member], told: Told, signals: Signals, outcomes: dict[int, Outcome]) -> None:
    from runner.limit import TimeLimit
    from runner.vectorized import drive_many

    def ended(number: int, error: BaseException | None) -> None:
        member = members[number]
        outcomes[member.job.number] = _closed(member, told, error)

    limits = [TimeLimit(member.settings.trainer.time_limit) for member in members]
    try:
        observers = [[_opened(member)] for member in members]
        drive_many([member.run for member in members], observers, lambda: _reason(signals, limits), ended)
    except BaseException as error:
        for member in members:
            if member.job.number not in outcomes:
                outcomes[member.job.number] = _closed(member, told, error)
        raise
    signals.check()


def _reason(signals: Signals, limits: list["TimeLimit"]) -> BaseException | None:
    return signals.stop() or next((reason for limit in limits if (reason := limit.stop()) is not None), None)


def _opened(member: Member) -> "Tracker":
    """A run of its own for the job, as `commands.train.record` makes it."""
    from runner import tracking
    from runner.commands.train import identity, named

    told, context, run_id = member.settings.tracking, member.context, member.job.run_id
    goal = (told.uri, told.experiment or context.name, named(context, told))
    recording = tracking.recording(
        *goal, *identity(member.run, context, run_id), run_id or None, member.settings.checkpoint.keep
    )
    member.tracker = member.record.enter_context(recording)
    return member.tracker


def _closed(member: Member, told: Told, error: BaseException | None) -> Outcome:
    """End the job's run with the truth."""
    found = error
    try:
        if error is None and member.settings.tracking.log_model and member.tracker is not None:
            _log_model(member)
        member.record.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
    except BaseException as raised:
        found = raised
    if found is None:
        return job.ended(member.job, member.run, told, member.run_id, "FINISHED")
    if isinstance(found, Exception):
        return job.failed(member.job, member.run, told, member.context, member.settings, member.run_id, found)
    return job.ended(member.job, member.run, told, member.run_id, "KILLED", str(found))


def _log_model(member: Member) -> None:
    from runner import logged_model

    assert member.tracker is not None
    run = member.run
    logged_model.log(member.tracker.client, member.run_id, run.model, run.batch_of(2), run.folder)


def _numbers(members: list[Member]) -> str:
    """`0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(member.job.number for member in members):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
