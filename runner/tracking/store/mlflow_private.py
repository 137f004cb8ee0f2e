"""MLflow's inner names and tables, all that are used: when a release moves one, this file is where to mend it.

Written for MLflow 3.17, and right from 3.11 on. `tests/tracking/test_mlflow_private.py` fails when a name is gone.
"""

import contextlib
import inspect
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.files import uris

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: The MLflow that this file was written for.
RELEASE = "3.17"

_METRIC = {"key", "value", "timestamp", "step", "is_nan", "run_uuid"}
#: The tables that `write/bulk.py` writes, by the names of their classes, with all columns that it has to fill in.
TABLES: dict[str, set[str] | None] = {
    "SqlRun": None,
    "SqlMetric": _METRIC,
    "SqlLatestMetric": _METRIC,
    "SqlParam": {"key", "value", "run_uuid"},
    "SqlTag": {"key", "value", "run_uuid"},
}
#: All columns of a run, which `write/new_runs.py` fills in as MLflow does.
RUN = {"run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"}
RUN |= {"end_time", "deleted_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"}
#: The tag with a run's name, and the one with its user.
NAME, USER = "mlflow.runName", "mlflow.user"
#: (table, column, condition) of every place of artifacts; the first two tables are in every store.
PLACES = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("trace_tags", "value", " AND key = 'mlflow.artifactLocation'"),
)
#: Columns of the table `runs` without which MLflow makes no run of a row: it fails for the whole page of a search.
REQUIRED = ("start_time", "status", "user_id")
#: A search's filter for runs that have them all: no comparison holds for NULL.
HAS_REQUIRED = "attributes.start_time > -1 AND attributes.status != '-' AND attributes.user_id != '-'"


def local_store(client: "MlflowClient") -> Any | None:
    """Return the object by which a client reads and writes an SQLite file; None for any other store."""
    is_local = uris.sqlite_path(str(client.tracking_uri)) is not None
    return client._tracking_client.store if is_local else None


def engine(client: "MlflowClient") -> Any:
    """Return SQLAlchemy's engine of a local store, which holds its connections; `dispose()` closes those that are idle.

    To be asked for when a store is opened: MLflow forgets stores, and would open a forgotten one again to answer.
    """
    store = local_store(client)
    assert store is not None, "only a local store is opened here"
    return store.engine


def tables(client: "MlflowClient") -> dict[str, Any] | None:
    """Return the TABLES of a local store by the names of their classes; None for any other store.

    None as well if one has other columns than those in TABLES: it is of another MLflow, which only MLflow can write.
    """
    store = local_store(client)
    if store is None:
        return None
    from mlflow.store.tracking import sqlalchemy_store

    result: dict[str, Any] = {name: getattr(sqlalchemy_store, name).__table__ for name in TABLES}
    same = (columns is None or {c.name for c in result[name].columns} == columns for name, columns in TABLES.items())
    return result if type(store) is sqlalchemy_store.SqlAlchemyStore and all(same) else None


def run_folder(experiment_place: str, run_id: str) -> str:
    """Return the place of a run's artifacts in that of its experiment, as MLflow names it."""
    from mlflow.utils.uri import append_to_uri_path

    return str(append_to_uri_path(experiment_place, run_id, "artifacts"))


def session(client: "MlflowClient") -> Any:
    """Return a context manager for one transaction that writes a local store; its value is an SQLAlchemy session."""
    store = local_store(client)
    assert store is not None, "tables() has returned those of a local store"
    make = store.ManagedSessionMaker
    # MLflow 3.11 has no sessions that only read.
    return make(read_only=False) if "read_only" in inspect.signature(make).parameters else make()


def make_tables(uri: str, artifacts: Path) -> None:
    """Create MLflow's tables in an SQLite file whose URI the client would not take."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, artifacts.as_uri())


def experiment_places(store: sqlite3.Connection) -> list[tuple[int, object]]:
    """Return (id, place of artifacts) of every experiment."""
    return store.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()


def run_ids(store: sqlite3.Connection, experiment: int) -> set[str]:
    """Return the ids of an experiment's runs, deleted ones too."""
    return {run for (run,) in store.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment,))}


def place_first_experiment(store: sqlite3.Connection, place: str) -> None:
    """Set the place of artifacts of MLflow's own first experiment, unless it has runs."""
    store.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = 0)",
        (place,),
    )


def run_rows(store: sqlite3.Connection) -> dict[str, tuple[str, str, str]]:
    """Return the stage (active, deleted), the status and the place of artifacts of every run, by its id."""
    query = "SELECT run_uuid, lifecycle_stage, status, artifact_uri FROM runs"
    return {run: (str(stage), str(status), str(place)) for run, stage, status, place in store.execute(query)}


def models_of(store: sqlite3.Connection, run_id: str) -> tuple[list[tuple[str, str]], bool]:
    """Return (id, place) of each logged model of a run, and whether the registry has one of its models."""
    [(models,)] = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'logged_models'")
    query = "SELECT model_id, artifact_location FROM logged_models WHERE source_run_id = ?"
    found = [(str(name), str(place)) for name, place in store.execute(query, (run_id,))] if models else []
    registered = "SELECT count(*) FROM model_versions WHERE run_id = ? OR instr(source, ?)"
    return found, any(store.execute(registered, (run_id, name)).fetchone()[0] for name in (run_id, *dict(found)))


def delete_for_good(client: "MlflowClient", run_id: str) -> None:
    """Delete the rows of a deleted run of a local store, and those of its logged models, as `mlflow gc` does."""
    tracking, path = local_store(client), uris.sqlite_path(str(client.tracking_uri))
    assert tracking is not None, "only a local store is cleaned"
    assert path is not None
    with contextlib.closing(sqlite3.connect(path)) as store:
        models, _ = models_of(store, run_id)
    for name, _ in models:
        tracking._hard_delete_logged_model(name)
    tracking._hard_delete_run(run_id)


def incomplete_runs(store: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Yield the columns of each run of which MLflow makes no object, or which no search finds: one that misses a value.

    Deleted runs are left out.
    """
    columns = ("run_uuid", "name", "experiment_id", "status", "start_time", "end_time", "lifecycle_stage")
    missing = " OR ".join(f"{name} IS NULL" for name in REQUIRED)
    query = f"SELECT {', '.join(columns)}, user_id FROM runs WHERE lifecycle_stage IS NULL OR ({missing})"
    for row in store.execute(query):
        run = dict(zip((*columns, "user_id"), row, strict=True))
        if run["lifecycle_stage"] in (None, "active"):
            yield run


def extremes(store: sqlite3.Connection, run_id: str) -> dict[str, dict[str, Any]]:
    """Return of each metric of a run its first, last, lowest and highest values, each with its step, and their number.

    NaN is left out of the lowest and the highest. Of equal values the first counts.
    """
    found: dict[str, dict[str, Any]] = {}
    counts = "SELECT key, count(*) FROM metrics WHERE run_uuid = ? GROUP BY key"
    for key, number in store.execute(counts, (run_id,)):
        found[key] = {"values": number}
    for name, extreme, column, where in (
        ("first", "min(step)", "step", ""),
        ("last", "max(step)", "step", ""),
        ("lowest", "min(value)", "value", " AND NOT is_nan"),
        ("highest", "max(value)", "value", " AND NOT is_nan"),
    ):
        query = (
            f"SELECT m.key, min(m.step), m.value, m.is_nan FROM metrics m JOIN (SELECT key, {extreme} AS x FROM metrics"
            f" WHERE run_uuid = ?{where} GROUP BY key) e ON m.key = e.key AND m.{column} = e.x"
            f" WHERE m.run_uuid = ?{where} GROUP BY m.key"
        )
        for key, step, value, is_nan in store.execute(query, (run_id, run_id)):
            found[key][name] = {"step": step, "value": float("nan") if is_nan else value}
    return found


def artifact_schemes() -> set[str]:
    """Return the URI schemes of the artifact stores that MLflow and its plugins have registered."""
    from mlflow.store.artifact import artifact_repository_registry as registry

    return set(registry.get_registered_artifact_repositories())


def artifact_repository(uri: str, tracking_uri: str) -> Any:
    """Return the repository that reads and writes artifacts at `uri`. Raises ImportError if it needs a package."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri as with_profile

    return get_artifact_repository(with_profile(uri, tracking_uri), tracking_uri)


def local_path(uri: str) -> Path:
    """Return the absolute path that MLflow reads from `file:///a%20b`, or from a path."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri)).absolute()


def replace_artifact_requests(request: Callable[..., Any], requests: Any) -> None:
    """Have MLflow's artifact repository of a server make its requests by `request`, and by `requests.put`."""
    from mlflow.store.artifact import http_artifact_repo

    assert {"http_request", "requests"} <= vars(http_artifact_repo).keys(), "MLflow makes these requests otherwise now"
    http_artifact_repo.http_request = request
    http_artifact_repo.requests = requests


def http_request(host_creds: Any, endpoint: str, method: str, **arguments: Any) -> Any:
    """Make a request to a server as MLflow does."""
    from mlflow.utils import rest_utils

    return rest_utils.http_request(host_creds, endpoint, method, **arguments)


def replace_adapter(derive: Callable[[Any], Any], mark: str) -> None:
    """Have MLflow's sessions to servers use the HTTP adapter that `derive` makes of its own; done once.

    mark: an attribute that the derived adapter has and MLflow's has not.
    """
    from mlflow.utils import request_utils

    usual = request_utils.TCPKeepAliveHTTPAdapter
    if not hasattr(usual, mark):
        request_utils.TCPKeepAliveHTTPAdapter = derive(usual)
        request_utils._cached_get_request_session.cache_clear()  # sessions with the usual adapter


def newest(path: Path, most: int) -> list[tuple[str, str, str, str, int | None]]:
    """Return id, name, experiment, status and start (ms) of the newest runs of a local store, without MLflow.

    [] for a file that is no store. It is read for a shell that completes, so that it waits for nobody.
    """
    asked = (
        "SELECT run_uuid, coalesce(runs.name, ''), experiments.name, status, start_time FROM runs"
        " JOIN experiments USING (experiment_id) WHERE runs.lifecycle_stage = 'active'"
        " ORDER BY start_time DESC LIMIT ?"
    )
    return _selected(path, asked, (most,))


def experiments(path: Path) -> list[str]:
    """Return the names of a local store's experiments that have runs, the one with the newest first; see `newest`."""
    asked = (
        "SELECT experiments.name FROM experiments JOIN runs USING (experiment_id)"
        " WHERE experiments.lifecycle_stage = 'active' AND runs.lifecycle_stage = 'active'"
        " GROUP BY experiments.name ORDER BY max(start_time) DESC"
    )
    return [name for (name,) in _selected(path, asked, ())]


def _selected(path: Path, asked: str, values: tuple[int, ...]) -> list[Any]:
    if not path.is_file():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            return connection.execute(asked, values).fetchall()
    except sqlite3.Error:
        return []
