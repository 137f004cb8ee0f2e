"""The runs and experiments of a local tracking store, for a shell that completes: read, and nothing else.

A server is not asked: a shell must not wait for one.
"""

import os
import time
from collections.abc import Iterator

from runner.settings.files import uris
from runner.tracking.store import mlflow_private

#: Runs that are offered, the newest.
MOST = 40


def uri(words: list[str]) -> str:
    """Return the store of a command line: tracking.uri, MLFLOW_TRACKING_URI, or mlflow.db of the working directory."""
    typed = [word.partition("=")[2].strip("'\"") for word in words if word.startswith("tracking.uri=")]
    return next(iter(typed), "") or os.environ.get("MLFLOW_TRACKING_URI", "") or "sqlite:///mlflow.db"


def runs(place: str) -> Iterator[tuple[str, str]]:
    """Yield the beginnings of the newest runs' ids, each with its name, experiment, status and age."""
    path = uris.sqlite_path(place)
    for run_id, name, experiment, status, start in mlflow_private.newest(path, MOST) if path else ():
        age = _age(time.time() - (start or 0) / 1000)
        yield run_id[:8], ", ".join(filter(None, (name, experiment * (experiment != name), status, age)))


def experiments(place: str) -> list[str]:
    """Return the names of the experiments, the one with the newest run first."""
    path = uris.sqlite_path(place)
    return mlflow_private.experiments(path) if path else []


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
