"""Jobs of a sweep whose models are trained as one program; each has its own run, as if it had been alone."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.events import Event, Kept
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
    from runner.sweep.rendering import Renderer
    from runner.tracker import Tracker


#: Runs that have ended and are closed later: their pictures are drawn meanwhile.
WAITING = 8


class Held:
    """Tells a tracker everything but files, which are kept until `let_go`: other processes are writing them."""

    def __init__(self, tracker: "Tracker") -> None:
        self.tracker = tracker
        self._kept: list[Event] = []

    def record(self, event: Event) -> None:
        if isinstance(event, Kept):
            self._kept.append(event)
        else:
            self.tracker.record(event)

    def let_go(self) -> None:
        for event in self._kept:
            self.tracker.record(event)


@dataclass
class Member:
    """A job under way among others."""

    job: Job
    settings: "Settings"
    context: "Context"
    run: "Run"
    record: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    held: Held | None = None

    @property
    def run_id(self) -> str:
        return self.held.tracker.run_id if self.held is not None else self.job.run_id


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
    from runner.sweep.pruning import pruning
    from runner.sweep.rendering import rendering
    from runner.vectorized import drive_many

    limits = [TimeLimit(member.settings.trainer.time_limit) for member in members]
    over: list[tuple[Member, BaseException | None]] = []

    def close(left: int) -> None:
        while len(over) > left:
            member, error = over.pop(0)
            outcomes[member.job.number] = _closed(member, told, renderer, error)

    def ended(number: int, error: BaseException | None) -> None:
        over.append((members[number], error))
        close(WAITING)

    with rendering() as renderer:
        try:
            # The pruner comes first: what it decides, the record tells.
            observers = [[pruning(m.run, m.job.number, job.shared(told)), _opened(m, renderer)] for m in members]
            drive_many([member.run for member in members], observers, lambda: _reason(signals, limits), ended)
        except BaseException as error:
            close(0)
            over += [(member, error) for member in members if member.job.number not in outcomes]
            raise
        finally:
            close(0)
    signals.check()


def _reason(signals: Signals, limits: list["TimeLimit"]) -> BaseException | None:
    return signals.stop() or next((reason for limit in limits if (reason := limit.stop()) is not None), None)


def _opened(member: Member, renderer: "Renderer") -> Held:
    """A run of its own for the job, as `commands.train.record` makes it."""
    from runner import tracking
    from runner.commands.train import identity, named

    told, context, run_id = member.settings.tracking, member.context, member.job.run_id
    goal = (told.uri, told.experiment or context.name, named(context, told))
    recording = tracking.recording(
        *goal, *identity(member.run, context, run_id), run_id or None, member.settings.checkpoint.keep
    )
    member.held = Held(member.record.enter_context(recording))
    member.run.save = renderer.save
    return member.held


def _closed(member: Member, told: Told, renderer: "Renderer", error: BaseException | None) -> Outcome:
    """End the job's run with the truth."""
    found = error
    try:
        with member.record:
            if member.held is not None:
                _let_go(member, member.held, renderer)
            if error is not None:
                raise error
    except BaseException as raised:
        found = raised
    if found is None:
        return job.ended(member.job, member.run, told, member.run_id, "FINISHED")
    if isinstance(found, Exception):
        return job.failed(member.job, member.run, told, member.context, member.settings, member.run_id, found)
    return job.ended(member.job, member.run, told, member.run_id, "KILLED", str(found))


def _let_go(member: Member, held: Held, renderer: "Renderer") -> None:
    """Files that are there now, and the MLflow model if one is wanted."""
    from runner import logged_model

    run = member.run
    renderer.wait(run.folder)
    held.let_go()
    if member.settings.tracking.log_model and run.trains and run.state.step:
        logged_model.log(held.tracker.client, member.run_id, run.model, run.batch_of(2), run.folder)


def _numbers(members: list[Member]) -> str:
    """`0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(member.job.number for member in members):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
