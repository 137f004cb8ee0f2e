"""Rows of a sweep's table, from the runs in the tracking store and from outcomes."""

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError
from runner.settings.trust import limits, record_reading
from runner.sweeps.manifest import Job
from runner.sweeps.report.table import Row
from runner.sweeps.run.outcome import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tags of a job's run.
PARENT, JOB, DIGEST, PRUNED = "mlflow.parentRunId", "sweep.job", "runner.digest", "sweep.pruned"
#: Tag of a run with the reason for its status.
REASON = "runner.status_reason"
#: Tag of the parent run with the number of jobs.
JOBS = "sweep.jobs"
#: Jobs up to which the store is asked for an earlier run of each.
FEW = 50


def children(client: "MlflowClient", experiment_id: str, parent: str) -> dict[int, "Run"]:
    """Return job number -> run of the sweep `parent`, the newest run where a job has several."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{parent}'", page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    numbers = {run.info.run_id: _number(run) for run in runs}
    return {number: run for run in sorted(runs, key=_age) if (number := numbers[run.info.run_id]) is not None}


def child(client: "MlflowClient", parent: str, number: int) -> "Run | None":
    """Return the newest run of a job of the sweep `parent`; None if it has none."""
    experiment = client.get_run(parent).info.experiment_id
    where = f"tags.`{PARENT}` = '{parent}' AND tags.`{JOB}` = '{number}'"
    runs = client.search_runs([experiment], where, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def finished(client: "MlflowClient", experiment_id: str, digests: dict[int, str]) -> dict[int, "Run"]:
    """Return job number -> the newest run of the experiment that has its digest, is FINISHED and was not pruned."""
    if len(digests) > FEW:
        return _finished_of_many(client, experiment_id, digests)
    newest = {}
    for number, sha in digests.items():
        where = f"attributes.status = 'FINISHED' AND tags.`{DIGEST}` = '{sha}'"
        runs = client.search_runs([experiment_id], where, order_by=["attributes.start_time DESC"])
        for run in [run for run in runs if PRUNED not in run.data.tags][:1]:
            newest[number] = run
    return newest


def _finished_of_many(client: "MlflowClient", experiment_id: str, digests: dict[int, str]) -> dict[int, "Run"]:
    """Return what `finished` does. To read all runs page by page takes less time than to ask for each of many jobs."""
    by_digest: dict[str, Run] = {}
    missing, token = set(digests.values()), None
    while missing:
        where = f"attributes.status = 'FINISHED' AND tags.`{DIGEST}` LIKE '%'"
        page = client.search_runs([experiment_id], where, order_by=["attributes.start_time DESC"], page_token=token)
        for run in page:
            sha = run.data.tags[DIGEST]
            if sha in missing and PRUNED not in run.data.tags:
                by_digest[sha] = run
                missing.remove(sha)
        token = page.token
        if not token:
            break
    return {number: by_digest[sha] for number, sha in digests.items() if sha in by_digest}


def rows(
    jobs: Iterable[Job], epochs: dict[int, int], runs: dict[int, "Run"], outcomes: dict[int, Outcome], metric: str
) -> list[Row]:
    """Return a row for each job, from its outcome where it has one, and from its run in the store otherwise.

    epochs: job number -> epochs of the whole training. metric: what jobs are ranked by.
    """
    table = []
    for job in jobs:
        row = Row(job.number, job.varied, epochs=epochs.get(job.number, 0))
        if job.number in runs:
            from_store(row, runs[job.number], metric)
        if job.number in outcomes:
            _from_outcome(row, outcomes[job.number])
        table.append(row)
    return table


def from_store(row: Row, run: "Run", metric: str) -> None:
    """Fill in a row what its run in the store has. metric: what rows are ranked by."""
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


def _from_outcome(row: Row, outcome: Outcome) -> None:
    row.run_id, row.status, row.pruned, row.reason = outcome.run_id, outcome.status, outcome.pruned, outcome.reason
    row.value = outcome.value if outcome.value is not None else row.value
    row.metrics, row.epoch = outcome.metrics or row.metrics, outcome.epoch or row.epoch


def _age(run: "Run") -> float:
    return record_reading.number(run.info.start_time, 0.0)


def _number(run: "Run") -> int | None:
    """Return the job number in the tags of a run; None if the tag is missing or no number."""
    try:
        return record_reading.whole(run.data.tags.get(JOB, ""), f"the tag {JOB}", most=limits.JOBS)
    except ConfigError:
        return None
