"""Runs of a sweep's jobs in this process: their records are opened, and closed while the next ones train."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sweeps.manifest import Job
from runner.sweeps.masked import Masked
from runner.sweeps.run import job
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.keeping import Keeping
from runner.sweeps.run.outcome import Outcome
from runner.training.events import Artifacts, Epoch, Event, Observer

if TYPE_CHECKING:
    from runner.settings import Settings
    from runner.settings.context import Context
    from runner.sweeps.run.drawing import InlineRenderer, Renderer
    from runner.tracking.write.tracker import Tracker
    from runner.training.run import Run


class DeferredArtifacts:
    """An observer that passes events to a tracker, files only on `release`: other processes may be writing them."""

    takes_steps = True

    def __init__(self, tracker: "Tracker") -> None:
        self.tracker = tracker
        self._deferred: list[Event] = []

    def record(self, event: Event) -> None:
        """Pass the event on, or keep it until `release` if it is about files."""
        if isinstance(event, Artifacts):
            self._deferred.append(event)
        else:
            self.tracker.record(event)

    def release(self) -> None:
        """Pass the events about files on to the tracker."""
        for event in self._deferred:
            self.tracker.record(event)


@dataclass
class Member:
    """A job whose run is prepared, and open after `Desk.open`."""

    job: Job
    settings: "Settings"
    context: "Context"
    run: "Run"
    record: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    observer: DeferredArtifacts | None = None

    @property
    def run_id(self) -> str:
        """The id of the job's run; "" before it has one."""
        return self.observer.tracker.run_id if self.observer is not None else self.job.run_id


class Desk:
    """The jobs of this process from begin to end. `waiting` ended ones wait for their plots, `batch` end together."""

    def __init__(self, info: SweepInfo, renderer: "Renderer | InlineRenderer", waiting: int, batch: int = 1) -> None:
        from runner.tracking.write.group import Group
        from runner.training.checking.known import Known
        from runner.training.vectorized.shared import Shared

        self.shared, self.known, self.masked = Shared(), Known(), Masked()
        self.info, self.renderer, self.waiting, self.batch = info, renderer, waiting, batch
        self._group, self.keeping = Group(), Keeping(info)
        self.outcomes: dict[int, Outcome] = {}
        self._over: list[tuple[Member, BaseException | None]] = []
        self._handed_over: list[tuple[Member, BaseException | None]] = []  # whose records are on their way to the store

    def begin(self, one: Job) -> Member | None:
        """Prepare a job; None if that fails, which is recorded in its outcome."""
        settings, context = job.configured(one, self.info, self.masked)
        try:
            run = job.begin(one, settings, self.info, self.known)
            self.keeping.follow(one.number, run)
            self.shared.take(run)
            return Member(one, settings, context, run)
        except Exception as error:
            self.outcomes[one.number] = job.failed(one, None, self.info, context, settings, one.run_id, error)
            return None

    def open(self, members: Sequence[Member]) -> "list[list[Observer]]":
        """Open the records of the jobs' runs, as `session.record` does, and return the observers of each run."""
        from runner.settings import random_state
        from runner.sweeps.prune.observer import pruning
        from runner.tracking import session

        group = self._group if len(members) > 1 else None
        new = [member for member in members if group is not None and not member.job.run_id]
        for number, record in session.all_opened([(member.run, member.context) for member in new], self._group):
            _enter(new[number], record)
        for member in [member for member in members if member.observer is None]:
            random_state.restrain(member.settings.trainer, member.run.threads)  # others may have been prepared since
            _enter(member, session.opened(member.run, member.context, member.job.run_id, group=group))
        # The pruner comes first, so that its decision is in the record.
        shared = job.shared(self.info)
        return [[pruning(m.run, m.job.number, shared), m.observer] for m in members if m.observer is not None]

    def end(self, member: Member, error: BaseException | None) -> None:
        """End a job; `error` is why it failed or was interrupted, None if it did not."""
        self._over.append((member, error))
        if len(self._over) >= self.waiting + self.batch:
            self.close(self.waiting)

    def close(self, waiting: int = 0) -> None:
        """Close the records of ended jobs, the oldest first, until only `waiting` of them are open.

        All of a batch are handed over before the first is waited for, so that they are delivered together; and while
        jobs go on to end, those of a batch are waited for when the next one is handed over.
        Others train meanwhile, so that random numbers drawn by MLflow must not change the random state.
        """
        from runner.training.state import generators

        if not self._over and not self._handed_over:
            return
        with generators.undrawn((self._over or self._handed_over)[0][0].run.device):
            while len(self._over) > waiting:
                count = min(self.batch, len(self._over) - waiting)
                batch, self._over = self._over[:count], self._over[count:]
                before, self._handed_over = self._handed_over, [(m, self._hand_over(m, error)) for m, error in batch]
                self._close(before)
            if not waiting or self.batch == 1:
                before, self._handed_over = self._handed_over, []
                self._close(before)

    def _close(self, members: list[tuple[Member, BaseException | None]]) -> None:
        """Close the records of jobs that were handed over, with the errors that they end with."""
        try:
            for member, failure in members:
                outcome = self.outcomes[member.job.number] = self._closed(member, failure)
                self.keeping.settle(member.run, outcome)
        finally:
            for member, _ in members:
                member.run.close()

    def record(self, event: Event) -> None:
        """Close the records of ended jobs whose plots are written; called as an observer of the job that trains."""
        if isinstance(event, Epoch):
            while self._over and self.renderer.ready(self._over[0][0].run.folder):
                self.close(len(self._over) - 1)

    def _hand_over(self, member: Member, error: BaseException | None) -> BaseException | None:
        """Hand over the end of the job's record. Returns the error that the job ends with."""
        try:
            self._record_end(member, error)
            if member.observer is not None and error is None:
                member.observer.tracker.end(*member.observer.tracker.verdict)
        except BaseException as raised:
            return raised
        return error

    def _closed(self, member: Member, error: BaseException | None) -> Outcome:
        """Close the job's record and return its outcome."""
        failure = error
        try:
            with member.record:
                if error is not None:
                    raise error
        except BaseException as raised:
            failure = raised
        if failure is None:
            return job.ended(member.job, member.run, self.info, member.run_id, "FINISHED")
        if isinstance(failure, Exception):
            parts = (self.info, member.context, member.settings, member.run_id)
            return job.failed(member.job, member.run, *parts, failure)
        return job.ended(member.job, member.run, self.info, member.run_id, "KILLED", str(failure))

    def _record_end(self, member: Member, error: BaseException | None) -> None:
        """Record the files, and the MLflow model if it is configured. An error here becomes a note of `error`."""
        from runner.tracking.read import logged_model

        if member.observer is None:
            return
        try:
            try:
                self.renderer.wait(member.run.folder)
            finally:  # a plot that fails must not lose the other files
                member.observer.release()
            if member.settings.tracking.log_model and error is None:
                logged_model.log(member.observer.tracker, member.run)
        except Exception as another:
            if error is None:
                raise
            error.add_note(f"and the rest of the record cannot be written: {another}")


def _enter(member: Member, record: "contextlib.AbstractContextManager[Tracker]") -> None:
    member.observer = DeferredArtifacts(member.record.enter_context(record))
