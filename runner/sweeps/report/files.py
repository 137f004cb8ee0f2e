"""The table as files: CSV for spreadsheets, JSON for MLflow's own view of tables."""

import csv as _csv
import io
import json
import math
from typing import Any

from runner.sweeps.report.table import Row, Table

#: Artifacts of the parent run.
CSV, JSON = "results.csv", "results.json"
#: The tag by which MLflow's UI and `mlflow.load_table` find the table.
TAG = ("mlflow.loggedArtifacts", json.dumps([{"path": JSON, "type": "table"}]))

_BEFORE, _AFTER = ["rank", "job"], ["epoch", "seconds", "pruned", "reason", "run_id"]


def csv(table: Table) -> str:
    """Return the table as CSV: a line for each job, the best first, jobs without a rank last, missing values empty."""
    text = io.StringIO()
    writer = _csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(table))
    writer.writerows(_lines(table))
    return text.getvalue()


def mlflow_table(table: Table) -> str:
    """Return the table as JSON of columns and data, MLflow's format for tables. JSON has no nan: it becomes null.

    MLflow's log_table is not used: it appends to existing rows, and loads pandas. A dot in a column's name becomes a
    slash: MLflow's UI takes the dot for a path and shows the column empty.
    """
    columns = [name.replace(".", "/") for name in _columns(table)]
    data = [[_finite(value) for value in line] for line in _lines(table)]
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False, allow_nan=False)


def _columns(table: Table) -> list[str]:
    return [*_BEFORE, *table.keys, "status", table.metric, *_others(table), *_AFTER]


def _lines(table: Table) -> list[list[Any]]:
    ranks = {row.number: rank for rank, row in enumerate(table.standing, 1)}
    keys, others = table.keys, _others(table)
    inorder = sorted(table.rows, key=lambda row: (ranks.get(row.number, math.inf), row.number))
    return [_line(row, ranks.get(row.number), keys, others) for row in inorder]


def _line(row: Row, rank: int | None, keys: list[str], others: list[str]) -> list[Any]:
    varied = [row.overrides.get(key) for key in keys]
    metrics = [row.metrics.get(name) for name in others]
    last = [row.epoch, row.seconds, row.pruned, row.reason, row.run_id]
    return [rank, row.number, *varied, row.status, row.value, *metrics, *last]


def _others(table: Table) -> list[str]:
    """Return the names of further metrics, sorted, without those that are columns already."""
    taken = {*_BEFORE, *table.keys, "status", table.metric, *_AFTER}
    return sorted({name for row in table.rows for name in row.metrics} - taken)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
