"""The table of a recorded sweep, made of its manifest and of its jobs' runs in the store."""

from typing import Any

from runner.sweeps import manifest
from runner.sweeps.report import plain, rows
from runner.sweeps.report.table import STATES, Table
from runner.tracking.read import recall


def table(uri: str, run_id: str) -> Table:
    """Return the table of the sweep `run_id` as its store has it now. Raises ConfigError for a damaged manifest."""
    plan = manifest.read(recall.text(uri, run_id, manifest.NAME))
    client = recall.existing(uri)
    children = rows.children(client, client.get_run(run_id).info.experiment_id, run_id)
    epochs = {job.number: job.config.get("trainer", {}).get("epochs") or 0 for job in plan.jobs}
    return Table(rows.rows(plan.jobs, epochs, children, {}, plan.metric), plan.metric, plan.mode, plan.objectives)


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
