"""One job of a sweep, from its frozen configuration to its outcome; in this process or in another."""

import math
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings import Settings, made
from runner.settings.context import Context
from runner.settings.errors import ConfigError, first_line, labelled, sentence
from runner.settings.trust import secrets, terminal
from runner.sweeps.manifest import Job
from runner.sweeps.masked import Masked
from runner.sweeps.report import rows
from runner.sweeps.report.rows import DIGEST, JOB, PARENT, PRUNED
from runner.sweeps.run.info import SweepInfo as SweepInfo
from runner.sweeps.run.outcome import Outcome
from runner.tracking.write import spool
from runner.tracking.write.spool import Undelivered
from runner.training.machine.signals import Interrupted, Signals

if TYPE_CHECKING:
    from runner.training.checking.known import Known
    from runner.training.run import Run

#: Points of a curve in an outcome; plots show no more.
MOST = 1000


def run(job: Job, info: SweepInfo, confirm: Callable[[], None] = lambda: None) -> Outcome:
    """Train the job in a new run, or continue its run; an error is printed, recorded there and put into the outcome.

    confirm: is called when all is prepared, and raises Unwanted for a job that is not to begin. Preparing takes
        seconds, in which a job whose launcher was killed may have been given up, and begun in another process.
    Raises Interrupted when a signal stops the process.
    """
    settings, context = configured(job, info)
    from runner.sweeps.prune.observer import pruning
    from runner.sweeps.run import keeping
    from runner.tracking import screen
    from runner.tracking.session import record

    prepared: Run | None = None
    keeps = keeping.Keeping(info)
    begun: list[str] = []
    try:
        with Signals() as signals:
            prepared = begin(job, settings, info)
            keeps.follow(job.number, prepared)
            try:
                signals.check()
                confirm()
                observers = [pruning(prepared, job.number, shared(info))]
                started, quiet = begun.append, screen.quiet()
                record(prepared, context, quiet, signals, job.run_id, begun=started, observers=observers)
            finally:
                prepared.close()
        outcome = ended(job, prepared, info, begun[0], "FINISHED")
        keeps.settle(prepared, outcome)
        return outcome
    except Exception as error:
        return failed(job, prepared, info, context, settings, (begun or [job.run_id])[0], error)


class Unwanted(BaseException):
    """A job that another process has taken over, or whose sweep has ended, before its own run began."""


def elsewhere(job: Job, info: SweepInfo) -> Outcome:
    """Run the job in a process of a launcher, where an interruption ends this job only.

    A job that waited in a queue until its sweep had ended is not started; a resumed sweep runs it.
    """
    from runner.tracking.store import reconcile, stores
    from runner.tracking.store.first_files import take_for_granted

    client = stores.open_store(info.uri)
    reconcile.reconcile(client)
    over = f"sweep {info.parent} is not run by {info.process} any more"

    def is_wanted() -> bool:
        parent = client.get_run(info.parent)
        take_for_granted(parent)
        return bool(parent.info.status == "RUNNING" and parent.data.tags.get(reconcile.PROCESS) == info.process)

    if not is_wanted():
        return Outcome(job.number, job.run_id, "KILLED", reason=over)
    before = rows.child(client, info.parent, job.number)
    if before is not None and before.info.status == "RUNNING":
        return Outcome(job.number, before.info.run_id, "KILLED", reason=f"another process is at work at {job.name}")
    if before is not None:  # its process was ended and its launcher tries again: never two runs of one job
        job = replace(job, run_id=before.info.run_id)

    def confirm() -> None:
        now = rows.child(client, info.parent, job.number)
        if not is_wanted() or (now is not None and now.info.run_id != job.run_id):
            raise Unwanted(over)

    try:
        return run(job, info, confirm)
    except (Interrupted, Unwanted) as stop:
        return Outcome(job.number, job.run_id, "KILLED", reason=str(stop))


def configured(job: Job, info: SweepInfo, masked: Masked | None = None) -> tuple[Settings, Context]:
    """Return the job's settings, and the context of its record: study, configuration, command line, tags, name.

    masked: has the texts of other jobs.
    """
    from runner.settings.files import places
    from runner.sweeps.digest import digest

    masked = masked or Masked()
    settings = made(pickle.loads(pickle.dumps(job.config)))  # of which other jobs' configurations hold parts
    settings.tracking.uri = info.uri
    tags = {PARENT: info.parent, JOB: str(job.number), DIGEST: digest(job.config, places.experiments())}
    words = [masked.word(word) for word in job.words]
    return settings, Context(info.study, masked.yaml(job.config), words, tags, job.name)


def begin(job: Job, settings: Settings, info: SweepInfo, known: "Known | None" = None) -> "Run":
    """Check the settings and build the run; a job that was interrupted continues from its newest checkpoint.

    known: what was found for other jobs of this process, see `prepare`.
    """
    from runner.settings import loaded, random_state
    from runner.tracking import recording
    from runner.tracking.read import recall, restoring
    from runner.training.prepare import prepare

    threads, tags = None, dict[str, str]()
    if job.run_id:
        recording.deliver(info.uri, job.run_id)
        tags = recall.facts(info.uri, job.run_id)[1]
        threads = random_state.recorded(settings.trainer, tags)
        settings = restoring.going_on(settings, info.uri, job.run_id)
    with loaded.as_recorded(tags):
        prepared = prepare(settings, info.study, threads, known=known)
    if job.run_id:
        restoring.restore(prepared, info.uri, job.run_id)
    return prepared


def ended(job: Job, run: "Run", info: SweepInfo, run_id: str, status: str, reason: str = "") -> Outcome:
    """Return the outcome of a run that has ended."""
    from runner.training.state.history import Points

    curve = run.history.get(info.metric) or Points()
    value = run.best.value if run.monitor == info.metric else (curve[-1][1] if curve else math.nan)
    return Outcome(
        job.number,
        run_id,
        status,
        value if math.isfinite(value) else None,
        run.last_values(),
        curve[:: -(-len(curve) // MOST) or 1],
        run.epoch,
        int(run.tags[PRUNED]) if PRUNED in run.tags else None,
        reason,
    )


def failed(
    job: Job, run: "Run | None", info: SweepInfo, context: Context, settings: Settings, run_id: str, error: Exception
) -> Outcome:
    """Print why a job failed and return its outcome. A job without a run gets one now, which records the error."""
    from runner.tracking import recording

    reason = secrets.masked(labelled(error))
    if isinstance(error, Undelivered):
        status, reason = error.status, secrets.masked(first_line(error))
        terminal.say(f"job {job.number} ({job.name}): {error}")
    else:
        status = "FAILED"
        terminal.say(_in_words(job, error))
    if not run_id:
        goal = (settings.tracking.uri, settings.tracking.experiment or info.study, context.title, context.tags)
        run_id = recording.failed(*goal, {"config.yaml": context.yaml}, error)
    if run is None:
        return Outcome(job.number, run_id, status, reason=reason, undelivered=isinstance(error, Undelivered))
    outcome = ended(job, run, info, run_id, status, reason)
    outcome.undelivered = isinstance(error, Undelivered)
    return outcome


def _in_words(job: Job, error: Exception) -> str:
    """Return one line for a mistake of the user's, and the traceback of any other error."""
    short = str(error) if isinstance(error, ConfigError) else sentence(error)
    if short is not None:
        return f"job {job.number} ({job.name}): {short}"
    return "".join(traceback.format_exception(error))


def shared(info: SweepInfo) -> Path:
    """Return the folder that all jobs of the sweep share, beside the spools."""
    return spool.place(info.uri).parent / "sweeps" / info.parent
