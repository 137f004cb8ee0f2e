"""Runs of a sweep's jobs in this process: opened, told, and closed while the next ones are trained."""

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sweep.manifest import Job
from runner.sweep.run import job
from runner.sweep.run.job import Told
from runner.sweep.run.outcome import Outcome
from runner.training.events import Epoch, Event, Kept, Observer

if TYPE_CHECKING:
    from runner.settings import Settings
    from runner.settings.context import Context
    from runner.sweep.run.drawing import Itself, Renderer
    from runner.tracking.write.tracker import Tracker
    from runner.training.run import Run


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
    """A job under way."""

    job: Job
    settings: "Settings"
    context: "Context"
    run: "Run"
    record: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    held: Held | None = None

    @property
    def run_id(self) -> str:
        return self.held.tracker.run_id if self.held is not None else self.job.run_id


class Desk:
    """Where jobs begin and end. Those that have ended wait for their pictures, at most `waiting` of them."""

    def __init__(self, told: Told, renderer: "Renderer | Itself", waiting: int) -> None:
        from runner.training.vectorized.shared import Shared

        self.shared = Shared()
        self.told, self.renderer, self.waiting = told, renderer, waiting
        self.outcomes: dict[int, Outcome] = {}
        self._over: list[tuple[Member, BaseException | None]] = []

    def begin(self, one: Job) -> Member | None:
        """The job ready to start; None if it cannot, which is then recorded."""
        settings, context = job.configured(one, self.told)
        try:
            run = job.begin(one, settings, self.told)
            self.shared.take(run)
            return Member(one, settings, context, run)
        except Exception as error:
            self.outcomes[one.number] = job.failed(one, None, self.told, context, settings, one.run_id, error)
            return None

    def open(self, member: Member) -> "list[Observer]":
        """Give the job a run of its own, as `session.record` does. Gives who is to be told of it."""
        from runner.settings import random_state
        from runner.sweep.prune.observer import pruning
        from runner.tracking import identity
        from runner.tracking import recording as tracking

        random_state.restrain(member.settings.trainer, member.run.threads)  # others may have been prepared since
        told, context, run_id = member.settings.tracking, member.context, member.job.run_id
        goal = (told.uri, told.experiment or context.name, identity.name(context, told))
        identified = identity.of_run(member.run, context, run_id)
        recording = tracking.recording(*goal, *identified, run_id or None, member.settings.checkpoint.keep)
        member.held = Held(member.record.enter_context(recording))
        # The pruner comes first: what it decides, the record tells.
        return [pruning(member.run, member.job.number, job.shared(self.told)), member.held]

    def end(self, member: Member, error: BaseException | None) -> None:
        """The job has come to its end, which is `error` if it failed or was interrupted."""
        self._over.append((member, error))
        self.close(self.waiting)

    def close(self, left: int = 0) -> None:
        """End the records of those that have waited longest."""
        while len(self._over) > left:
            member, error = self._over.pop(0)
            try:
                self.outcomes[member.job.number] = self._closed(member, error)
            finally:
                member.run.close()

    def record(self, event: Event) -> None:
        """An epoch of a job's is over: those before it whose pictures are there wait no longer."""
        if isinstance(event, Epoch):
            while self._over and self.renderer.ready(self._over[0][0].run.folder):
                self.close(len(self._over) - 1)

    def _closed(self, member: Member, error: BaseException | None) -> Outcome:
        """End the job's run with the truth. The next one trains: what MLflow draws meanwhile, it would miss."""
        from runner.training.state import generators

        found = error
        try:
            with generators.undrawn(member.run.device), member.record:
                self._let_go(member, error)
                if error is not None:
                    raise error
        except BaseException as raised:
            found = raised
        if found is None:
            return job.ended(member.job, member.run, self.told, member.run_id, "FINISHED")
        if isinstance(found, Exception):
            told = (self.told, member.context, member.settings, member.run_id)
            return job.failed(member.job, member.run, *told, found)
        return job.ended(member.job, member.run, self.told, member.run_id, "KILLED", str(found))

    def _let_go(self, member: Member, error: BaseException | None) -> None:
        """Tell of the files, and of the MLflow model if one is wanted. What fails here comes after `error`."""
        try:
            if member.held is not None:
                self._tell(member, member.held, error is None)
        except Exception as another:
            if error is None:
                raise
            error.add_note(f"and what is left of the record cannot be told: {another}")

    def _tell(self, member: Member, held: Held, whole: bool) -> None:
        from runner.tracking.read import logged_model

        run = member.run
        try:
            self.renderer.wait(run.folder)
        finally:  # a plot that fails must not take anything else with it
            held.let_go()
        if member.settings.tracking.log_model and whole:
            logged_model.log(held.tracker, run)
