"""The table of a recorded sweep, made of its manifest and of its jobs' runs in the store."""

from typing import TYPE_CHECKING, Any

from runner.settings.trust import record_reading
from runner.sweeps import manifest
from runner.sweeps.report import plain, rows
from runner.sweeps.report.table import STATES, Table
from runner.tracking.read import recall

if TYPE_CHECKING:
    from mlflow.entities import Run

#: Tag of a sweep with the runs that it has taken from earlier ones.
REUSED = "sweep.reused"


def table(uri: str, run_id: str, metric: str = "") -> Table:
    """Return the table of the sweep `run_id` as its store has it now. Raises ConfigError for a damaged manifest.

    metric: that jobs are ranked by; without it, the sweep's own. Of another one the mode is "": it is not known here.
    """
    plan = manifest.read(recall.text(uri, run_id, manifest.NAME))
    epochs = {job.number: job.config.get("trainer", {}).get("epochs") or 0 for job in plan.jobs}
    metric, mode = metric or plan.metric, plan.mode if metric in ("", plan.metric) else ""
    return Table(rows.rows(plan.jobs, epochs, runs(uri, run_id), {}, metric), metric, mode, plan.objectives)


def runs(uri: str, run_id: str) -> "dict[int, Run]":
    """Return job number -> run of the sweep `run_id`, those that were taken from other sweeps (`sweep.reuse`) too."""
    client = recall.existing(uri)
    parent = client.get_run(run_id)
    tag = parent.data.tags.get(REUSED)
    jobs: dict[str, str] = record_reading.decoded(tag, dict[str, str], f"the tag {REUSED}") if tag else {}
    ids = {
        record_reading.whole(job.removeprefix("job "), f"the tag {REUSED}"): record_reading.run_id(run)
        for job, run in jobs.items()
    }
    reused = {number: client.get_run(run) for number, run in ids.items()}
    return {**reused, **rows.children(client, parent.info.experiment_id, run_id)}


def jobs(table: Table) -> list[dict[str, Any]]:
    """Return the jobs as plain values, in the order of their numbers; `rank` counts from 1, the best first."""
    ranks = {row.number: rank for rank, row in enumerate(table.standing, 1)}
    return [{**plain.of_job(row), "rank": ranks.get(row.number)} for row in table.rows]


def best(table: Table) -> dict[str, Any] | None:
    """Return the best job, with the metric that jobs are ranked by and its mode; None without a single best job."""
    row = None if table.front else table.best
    return None if row is None else {**plain.of_job(row), "metric": table.metric, "mode": table.mode}


def statuses(table: Table) -> dict[str, int]:
    """Return how many jobs have each status, those that no job has left out."""
    return {status: len(rows) for status in STATES if (rows := table.having(status))}
