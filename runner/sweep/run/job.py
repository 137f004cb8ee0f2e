"""One job of a sweep, from its frozen configuration to its outcome; in this process or in another."""

import math
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings import Settings, made
from runner.settings.context import Context
from runner.settings.errors import ConfigError, first_line, sentence
from runner.settings.trust import recorded_settings, secrets, terminal
from runner.sweep.manifest import Job
from runner.sweep.report import rows
from runner.sweep.report.rows import DIGEST, JOB, PARENT, PRUNED
from runner.sweep.run.outcome import Outcome
from runner.tracking.write import spool
from runner.tracking.write.spool import Undelivered
from runner.training.machine.signals import Interrupted, Signals

if TYPE_CHECKING:
    from runner.training.events import Observer
    from runner.training.run import Run

#: Points of a curve that a job hands to its sweep; plots show no more.
MOST = 1000


@dataclass
class Told:
    """What all jobs of a sweep are told."""

    parent: str  # the sweep's run
    study: str  # the experiments file, or `runner`
    metric: str  # what jobs are ranked by
    uri: str
    process: str = ""  # that conducts the sweep, as its run's tag tells it


def run(job: Job, told: Told) -> Outcome:
    """Train it in a run of its own, or go on in the one that it has. Whatever fails is told, and recorded there.

    Raises Interrupted when the process was told to stop.
    """
    settings, context = configured(job, told)
    from runner.sweep.prune.observer import pruning

    made: Run | None = None
    begun: list[str] = []
    try:
        with Signals() as signals:
            made = begin(job, settings, told)
            try:
                signals.check()
                _train(made, job, context, signals, begun, pruning(made, job.number, shared(told)))
            finally:
                made.close()
        return ended(job, made, told, begun[0], "FINISHED")
    except Exception as error:
        return failed(job, made, told, context, settings, (begun or [job.run_id])[0], error)


def elsewhere(job: Job, told: Told) -> Outcome:
    """The same in a process of a launcher's, where an interruption is no more than the end of this job.

    A job that has waited in a queue for longer than its sweep was conducted is not begun: a resumed sweep runs it.
    """
    from runner.tracking.store import reconcile, stores
    from runner.tracking.store.first_files import take_for_granted

    client = stores.open_store(told.uri)
    reconcile.reconcile(client)
    parent = client.get_run(told.parent)
    take_for_granted(parent)
    if parent.info.status != "RUNNING" or parent.data.tags.get(reconcile.PROCESS) != told.process:
        return Outcome(job.number, job.run_id, "KILLED", reason=f"sweep {told.parent} does not go on in {told.process}")
    before = rows.child(client, told.parent, job.number)
    if before is not None and before.info.status == "RUNNING":
        return Outcome(job.number, before.info.run_id, "KILLED", reason=f"another process is at work at {job.name}")
    if before is not None:  # of a process that was ended, and its launcher tries again: never two runs of one job
        job = replace(job, run_id=before.info.run_id)
    try:
        return run(job, told)
    except Interrupted as stop:
        return Outcome(job.number, job.run_id, "KILLED", reason=str(stop))


def configured(job: Job, told: Told) -> tuple[Settings, Context]:
    """The job's settings, and what its record is told beside them."""
    from runner.settings.files import places
    from runner.sweep.digest import digest

    settings = made(job.config)
    settings.tracking.uri = told.uri
    tags = {PARENT: told.parent, JOB: str(job.number), DIGEST: digest(job.config, places.experiments())}
    text = recorded_settings.write(secrets.without(job.config))
    return settings, Context(told.study, text, [secrets.word(word) for word in job.words], tags, job.name)


def begin(job: Job, settings: Settings, told: Told) -> "Run":
    """Everything checked and built; of a job that was interrupted, as far on as its newest checkpoint."""
    from runner.settings import random_state
    from runner.tracking import recording
    from runner.tracking.read import recall, restoring
    from runner.training.prepare import prepare

    threads = None
    if job.run_id:
        recording.deliver(told.uri, job.run_id)
        threads = random_state.recorded(settings.trainer, recall.facts(told.uri, job.run_id)[1])
    made = prepare(settings, told.study, threads)
    if job.run_id:
        restoring.restore(made, told.uri, job.run_id)
    return made


def ended(job: Job, made: "Run", told: Told, run_id: str, status: str, reason: str = "") -> Outcome:
    """What the sweep is told of a run that has come to its end."""
    from runner.training.state.history import Points

    curve = made.history.get(told.metric) or Points()
    value = made.best.value if made.monitor == told.metric else (curve[-1][1] if curve else math.nan)
    return Outcome(
        job.number,
        run_id,
        status,
        value if math.isfinite(value) else None,
        made.last_values(),
        curve[:: -(-len(curve) // MOST) or 1],
        made.epoch,
        int(made.tags[PRUNED]) if PRUNED in made.tags else None,
        reason,
    )


def failed(
    job: Job, made: "Run | None", told: Told, context: Context, settings: Settings, run_id: str, error: Exception
) -> Outcome:
    """What the sweep is told of a job that has failed. One that did not come to a run of its own gets one now."""
    from runner.tracking import recording

    reason = secrets.masked(f"{type(error).__name__}: {first_line(error)}")
    if isinstance(error, Undelivered):
        status, reason = error.status, secrets.masked(first_line(error))
        terminal.say(f"job {job.number} ({job.name}): {error}")
    else:
        status = "FAILED"
        terminal.say(_in_words(job, error))
    if not run_id:
        goal = (settings.tracking.uri, settings.tracking.experiment or told.study, context.title, context.tags)
        run_id = recording.failed(*goal, {"config.yaml": context.yaml}, error)
    if made is None:
        return Outcome(job.number, run_id, status, reason=reason, undelivered=isinstance(error, Undelivered))
    outcome = ended(job, made, told, run_id, status, reason)
    outcome.undelivered = isinstance(error, Undelivered)
    return outcome


def _in_words(job: Job, error: Exception) -> str:
    """What a user wrote is said in a line, everything else with its traceback."""
    short = str(error) if isinstance(error, ConfigError) else sentence(error)
    if short is not None:
        return f"job {job.number} ({job.name}): {short}"
    return "".join(traceback.format_exception(error))


def shared(told: Told) -> Path:
    """The folder that all jobs of the sweep see, beside the spools of what is on its way to the store."""
    return spool.place(told.uri).parent / "sweeps" / told.parent


def _train(made: "Run", job: Job, context: Context, signals: Signals, begun: list[str], observer: "Observer") -> None:
    from runner.tracking import screen
    from runner.tracking.session import record

    record(made, context, screen.quiet(), signals, job.run_id, begun=begun.append, observers=[observer])
