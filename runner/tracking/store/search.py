"""A store's runs by a filter, with rows that MLflow cannot read left out instead of failing for all.

MLflow makes an object of every row, and raises an error for a whole page when one row has no start time, no status or
no user, as an import may have left it. Such rows are listed apart.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.settings.files import uris
from runner.settings.trust import record_reading
from runner.tracking.store import mlflow_private

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Runs of a page, as MLflow has it.
PAGE = 1000


def runs(
    client: "MlflowClient",
    experiments: list[str],
    condition: str = "",
    most: int = PAGE,
    order_by: list[str] | None = None,
    page_token: str | None = None,
) -> Any:
    """Return a page of the runs of `experiments`, MLflow's `search_runs` with a list of them and `token`.

    condition: in MLflow's language for filters, such as "attributes.status = 'RUNNING'".
    Raises MlflowException if the store does not answer, or refuses the condition.
    """
    from mlflow.exceptions import MlflowException

    def page(filter_string: str) -> Any:
        return client.search_runs(
            experiments, filter_string, max_results=most, order_by=order_by, page_token=page_token
        )

    try:
        return page(condition)
    except MlflowException:
        if not incomplete(client):
            raise
    return page(" AND ".join(part for part in (condition, mlflow_private.HAS_REQUIRED) if part))


@dataclass(frozen=True)
class Incomplete:
    """A run of a local store that misses a value, so that MLflow does not read or not find it."""

    run_id: str
    name: str
    experiment_id: str
    status: str  # "" if it has none
    times: tuple[float | None, float | None]  # when it started, in seconds since 1970, and how many seconds it took
    missing: tuple[str, ...]  # columns


def incomplete(client: "MlflowClient") -> list[Incomplete]:
    """Return the runs of a local store that miss a value; [] for a server, which lists none of them."""
    path = uris.sqlite_path(str(client.tracking_uri))
    if path is None or not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as store:
        return [_incomplete(columns) for columns in mlflow_private.incomplete_runs(store)]


def _incomplete(columns: dict[str, Any]) -> Incomplete:
    start, end = (
        None if columns[name] is None else record_reading.number(columns[name], 0.0) / 1000
        for name in ("start_time", "end_time")
    )
    return Incomplete(
        str(columns["run_uuid"]),
        str(columns["name"] or ""),
        str(columns["experiment_id"]),
        str(columns["status"] or ""),
        (start, None if start is None or end is None else max(0.0, end - start)),
        tuple(name for name in (*mlflow_private.REQUIRED, "lifecycle_stage") if columns[name] is None),
    )
