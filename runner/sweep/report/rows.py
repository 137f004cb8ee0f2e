"""How the jobs of a sweep stand, as the tracking store knows it."""

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError
from runner.settings.trust import limits, record_reading
from runner.sweep.manifest import Job
from runner.sweep.report.table import Row
from runner.sweep.run.outcome import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tags of a job's run.
PARENT, JOB, DIGEST, PRUNED = "mlflow.parentRunId", "sweep.job", "runner.digest", "sweep.pruned"
#: Tag of a run that says why it has ended as it has.
REASON = "runner.status_reason"
#: Tag of the sweep's own run: how many jobs it has.
JOBS = "sweep.jobs"


def children(client: "MlflowClient", experiment_id: str, parent: str) -> dict[int, "Run"]:
    """Job number -> its run."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{parent}'", page_token=token)
        found += page
        token = page.token
        if not token:
            break
    numbers = {run.info.run_id: _number(run) for run in found}
    return {number: run for run in sorted(found, key=_age) if (number := numbers[run.info.run_id]) is not None}


def child(client: "MlflowClient", parent: str, number: int) -> "Run | None":
    """The newest run of a job of the sweep `parent`; None if it has none."""
    experiment = client.get_run(parent).info.experiment_id
    where = f"tags.`{PARENT}` = '{parent}' AND tags.`{JOB}` = '{number}'"
    found = client.search_runs([experiment], where, max_results=1, order_by=["attributes.start_time DESC"])
    return found[0] if found else None


def finished(client: "MlflowClient", experiment_id: str, digests: dict[int, str]) -> dict[int, "Run"]:
    """Job number -> the newest run of the experiment that has its digest, is FINISHED and was not given up early."""
    found = {}
    for number, sha in digests.items():
        where = f"attributes.status = 'FINISHED' AND tags.`{DIGEST}` = '{sha}'"
        runs = client.search_runs([experiment_id], where, order_by=["attributes.start_time DESC"])
        for run in [run for run in runs if PRUNED not in run.data.tags][:1]:
            found[number] = run
    return found


def rows(
    jobs: Iterable[Job], epochs: dict[int, int], runs: dict[int, "Run"], told: dict[int, Outcome], metric: str
) -> list[Row]:
    """A row for every job: what its process has told where it has ended, and the store otherwise.

    epochs: of each job's whole training.
    """
    found = []
    for job in jobs:
        row = Row(job.number, job.varied, epochs=epochs.get(job.number, 0))
        if job.number in runs:
            _from_store(row, runs[job.number], metric)
        if job.number in told:
            _from_outcome(row, told[job.number])
        found.append(row)
    return found


def _from_store(row: Row, run: "Run", metric: str) -> None:
    tags, metrics = run.data.tags, run.data.metrics
    row.run_id, row.status = run.info.run_id, run.info.status
    row.metrics = {key: value for key, value in metrics.items() if "/" in key}
    row.epoch = int(record_reading.number(metrics.get("epoch"), 0.0))
    best = record_reading.number(tags.get("best.value"), math.nan) if tags.get("best.metric") == metric else math.nan
    row.value = metrics.get(metric) if math.isnan(best) else best
    row.pruned = int(record_reading.number(tags[PRUNED], 0.0)) if PRUNED in tags else None
    began, ended = (record_reading.number(at, 0.0) for at in (run.info.start_time, run.info.end_time))
    row.seconds = max(0.0, (ended or time.time() * 1000) - began) / 1000  # a clock may be set back
    row.reason = record_reading.line(tags.get(REASON)) if row.status in ("FAILED", "KILLED") else ""


def _from_outcome(row: Row, told: Outcome) -> None:
    row.run_id, row.status, row.pruned, row.reason = told.run_id, told.status, told.pruned, told.reason
    row.value = told.value if told.value is not None else row.value
    row.metrics, row.epoch = told.metrics or row.metrics, told.epoch or row.epoch


def _age(run: "Run") -> float:
    return record_reading.number(run.info.start_time, 0.0)


def _number(run: "Run") -> int | None:
    """The number of the job that a run says it is; None for one that says nothing, or no number."""
    try:
        return record_reading.whole(run.data.tags.get(JOB, ""), f"the tag {JOB}", most=limits.JOBS)
    except ConfigError:
        return None
