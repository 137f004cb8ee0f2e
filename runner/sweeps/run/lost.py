"""The outcome of a job whose process ended without returning one, read from the store."""

import time
from typing import TYPE_CHECKING

from runner.settings.errors import first_line
from runner.settings.trust import record_reading, secrets
from runner.sweeps.manifest import Job
from runner.sweeps.report import rows
from runner.sweeps.run import job as jobs
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.outcome import Outcome
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import spool, sync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Seconds between two checks of a process that still runs although its launcher has given it up.
PAUSE = 0.5


class ProcessLost(Exception):
    """The process of a job ended before the job had a run."""


def outcome(job: Job, info: SweepInfo, why: str) -> Outcome:
    """End the run of a job that returned nothing, deliver its spool, and return its outcome.

    A run that ended by itself keeps its status.
    why: what happened to the process, as in "its process was ended by SIGKILL".
    """
    try:
        return _outcome(stores.open_store(info.uri), job, info, why)
    except Exception as error:  # whatever a store or its driver raises: the other jobs continue
        reason = f"{why}; and the store does not answer: {secrets.masked(first_line(error))}"
        return Outcome(job.number, job.run_id, "KILLED", reason=reason, undelivered=True)


def _outcome(client: "MlflowClient", job: Job, info: SweepInfo, why: str) -> Outcome:
    run = _at_rest(client, job, info)
    if run is None:
        settings, context = jobs.configured(job, info)
        return jobs.failed(job, None, info, context, settings, "", ProcessLost(why))
    run_id, folder = run.info.run_id, spool.place(info.uri) / record_reading.run_id(run.info.run_id)
    undelivered = folder.exists() and sync.settle(folder, named=[info.uri]).undelivered
    reconcile.reconcile(client)
    if client.get_run(run_id).info.status == "RUNNING":  # on a machine that cannot be seen from here
        client.set_terminated(run_id, "KILLED")
    if client.get_run(run_id).info.status == "KILLED":
        client.set_tag(run_id, rows.REASON, why)
    [row] = rows.rows([job], {}, {job.number: client.get_run(run_id)}, {}, info.metric)
    metrics = dict(row.metrics)
    return Outcome(
        job.number, run_id, row.status, row.value, metrics, [], row.epoch, row.pruned, row.reason, undelivered
    )


def _at_rest(client: "MlflowClient", job: Job, info: SweepInfo) -> "Run | None":
    """Return the job's run once no process of this machine writes to it; None if it has no run."""
    while True:
        run = rows.child(client, info.parent, job.number)
        if run is None or run.info.status != "RUNNING" or liveness.is_gone(reconcile.owner(run)) is not False:
            return run
        time.sleep(PAUSE)
