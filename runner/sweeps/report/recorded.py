"""The table of a recorded sweep, made of its manifest and of its jobs' runs in the store."""

from typing import Any

from runner.settings.trust import secrets
from runner.sweeps import manifest
from runner.sweeps.report import rows
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
    return [
        {
            "number": row.number,
            "id": row.run_id or None,
            "status": row.status,
            "rank": ranks.get(row.number),
            "overrides": secrets.without(row.overrides),
            "value": row.value,
            "metrics": dict(sorted(row.metrics.items())),
            "epochs": row.epoch,
            "seconds": row.seconds,
            "pruned": row.pruned,
            "reason": secrets.masked(row.reason),
        }
        for row in table.rows
    ]


def best(table: Table) -> dict[str, Any] | None:
    """Return the best job and the metric that jobs are ranked by; None where there is no single best job."""
    row = None if table.front else table.best
    if row is None:
        return None
    return {"number": row.number, "id": row.run_id, "metric": table.metric, "mode": table.mode, "value": row.value}


def statuses(table: Table) -> dict[str, int]:
    """Return how many jobs have each status, those that no job has left out."""
    return {status: len(rows) for status in STATES if (rows := table.having(status))}
