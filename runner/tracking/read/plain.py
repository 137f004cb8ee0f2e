"""Runs as plain values: text, numbers, None, lists and dicts, for `--json` and for Python.

Times are texts in ISO 8601 with milliseconds, in UTC; durations are numbers of seconds; metrics are at full precision;
what a record does not have is None, or an empty list or dict. Secrets are masked.
"""

import datetime
from typing import Any

from runner.settings.trust import secrets
from runner.tracking.read.query import ended
from runner.tracking.store.stores import Row

#: Tags of a sweep's own run, and of a run that another one has started.
JOBS, PARENT = "sweep.jobs", "mlflow.parentRunId"
#: Tag with the description of a run, as MLflow's UI shows it.
NOTE = "mlflow.note.content"


def run(row: Row) -> dict[str, Any]:
    """Return what a store's list has of a run.

    id, name, kind (run, sweep, job), parent (the sweep's id of a job), experiment, status, started, ended, seconds,
    note, metrics (the last values), params, tags, artifacts (their place, as a URI).
    """
    kind = "sweep" if JOBS in row.tags else "job" if PARENT in row.tags else "run"
    return {
        "id": row.run_id,
        "name": secrets.masked(row.name),
        "kind": kind,
        "parent": row.tags.get(PARENT),
        "experiment": secrets.masked(row.experiment),
        "status": row.status,
        "started": time(row.started),
        "ended": time(ended(row)),
        "seconds": row.seconds,
        "note": row.tags.get(NOTE, ""),
        "metrics": dict(sorted(row.metrics.items())),
        "params": secrets.without(dict(sorted(row.params.items()))),
        "tags": secrets.without(dict(sorted(row.tags.items()))),
        "artifacts": secrets.masked_uri(row.artifacts),
    }


def time(seconds: float | None) -> str | None:
    """Return a time in ISO 8601, as in 2026-12-01T09:30:00.250+00:00; None for one that no calendar has."""
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        return None
