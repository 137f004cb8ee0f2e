"""A sweep as plain values, for other programs."""

from typing import Any

from runner.settings.trust import secrets
from runner.sweeps.report import comparison
from runner.sweeps.report.table import Row, Table
from runner.sweeps.run.job import SweepInfo


def of_sweep(info: SweepInfo, table: Table, verdict: tuple[str, str]) -> dict[str, Any]:
    """Return a sweep that has come to its end: its id, status, ranking and jobs, each with its run.

    verdict: the status and its reason. `best` is the best FINISHED job, None without one and in a sweep over folds.
    `comparison` is that of means over seeds or folds (`comparison.plain`), None where these are not varied.
    """
    best = table.best
    return {
        "sweep": info.parent,
        "uri": info.uri,
        "status": verdict[0],
        "reason": secrets.masked(verdict[1]),
        "metric": table.metric,
        "mode": table.mode,
        "keys": table.keys,
        "best": None if best is None else of_job(best),
        "comparison": comparison.plain(table) if comparison.applies(table) else None,
        "front": [row.run_id for row in table.front],
        "jobs": [of_job(row) for row in table.rows],
    }


def of_job(row: Row) -> dict[str, Any]:
    """Return a job: number, overrides, run, status, its value of the ranked metric, and the newest of each metric."""
    return {
        "job": row.number,
        "overrides": dict(row.overrides),
        "run": row.run_id,
        "status": row.status,
        "value": row.value,
        "metrics": dict(row.metrics),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "seconds": row.seconds,
        "pruned": row.pruned,
        "reason": secrets.masked(row.reason),
    }
