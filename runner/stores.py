"""A tracking store: how it is opened and created, its experiments, its runs."""

import contextlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runner import artifacts, durable, record_reading, secrets
from runner.lookup import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Without it the UI shows an experiment as one of language models, with tabs for traces and judges.
MACHINE_LEARNING = {"mlflow.experimentKind": "custom_model_development"}


def open_store(uri: str) -> "MlflowClient":
    """The client of a tracking store. A local SQLite store that does not exist is created, by one process at a time."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A dead server would hold a call for 247 s. It is for the spool to try again: MLflow would not ask first.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    _quiet()  # after MLflow is loaded, which sets it up to talk
    path, shown = sqlite_path(uri), secrets.masked_uri(uri)
    if "://" not in uri and uri != "databricks":
        raise ConfigError("tracking.uri", f"{shown!r} is not a URI; expected sqlite:///file.db or http://host:port")
    try:
        if path is None:
            return MlflowClient(uri, uri)
        return _open_sqlite(path)
    except (MlflowException, sqlite3.Error) as error:
        raise ConfigError("tracking.uri", f"{shown!r} cannot be opened: {secrets.masked(first_line(error))}") from error


def put(client: "MlflowClient", run_id: str, folder: Path, place: str | None) -> None:
    """The files of `folder` as artifacts in `place`. On a local disk each checkpoint's is whole or not there."""
    if place is not None:
        record_reading.place(place, "a place of artifacts")
    repository, here = artifacts.repository(client, run_id, writes=True), artifacts.local(client, run_id)
    if here is not None:
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        artifacts.refuse_links(here, [PurePosixPath(place or "", path.relative_to(folder)) for path in files])
    if here is None or place is None:
        repository.log_artifacts(str(folder), place)
    else:
        durable.publish(sorted(folder.iterdir()), here / place)


def delete(client: "MlflowClient", run_id: str, place: str) -> None:
    """Delete the artifacts in `place`, if this kind of store can."""
    record_reading.place(place, "a place of artifacts")
    repository, here = artifacts.repository(client, run_id, writes=True), artifacts.local(client, run_id)
    if here is not None:
        artifacts.refuse_links(here, [PurePosixPath(place)])
    with contextlib.suppress(NotImplementedError):
        repository.delete_artifacts(place)


#: SQLite file -> (inode, client): every job of a sweep opens the store that the one before has opened.
_clients: dict[Path, tuple[int, "MlflowClient"]] = {}


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite:/// URI, absolute; None for any other store."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _open_sqlite(path: Path) -> "MlflowClient":
    from filelock import FileLock
    from mlflow import MlflowClient

    uri = f"sqlite:///{path}"
    if not path.parent.is_dir():
        raise ConfigError("tracking.uri", f"there is no folder {path.parent}")
    if path in _clients and path.exists() and _clients[path][0] == path.stat().st_ino:
        return _clients[path][1]
    with FileLock(f"{path}.lock"):  # MLflow creates tables without one, and two processes at once break the store
        with contextlib.closing(sqlite3.connect(path)) as store:
            store.execute("PRAGMA journal_mode=WAL")  # kept in the file: the UI can read while a run writes
        client = MlflowClient(uri, uri)
    _clients[path] = path.stat().st_ino, client
    return client


def experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment's id. A local store keeps artifacts beside itself, whatever directory a later reader is in."""
    from mlflow.exceptions import MlflowException

    name = secrets.masked(name)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts(uri, name), tags=MACHINE_LEARNING))
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError("tracking.experiment", f"{name!r} was deleted from this store; restore it, or name another")
    artifacts.check(found.artifact_location, client.tracking_uri, writes=True)
    return str(found.experiment_id)


def _artifacts(uri: str, experiment: str) -> str | None:
    """Beside a local store; a server decides for itself."""
    path = sqlite_path(uri)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment).lstrip(".") or "_"
    return None if path is None else (path.parent / "mlruns" / safe).as_uri()


@dataclass
class Row:
    """One line of `runner runs`."""

    run_id: str
    name: str
    experiment: str
    status: str
    started: float  # seconds since 1970
    seconds: float | None
    metrics: dict[str, float]


def rows(uri: str, experiment: str | None = None, most: int = 50) -> list[Row]:
    """The newest runs of a store, newest first."""
    from mlflow.exceptions import MlflowException

    from runner.reconcile import reconcile

    client = open_store(uri)
    try:
        reconcile(client)
    except MlflowException as error:
        shown = secrets.masked_uri(uri)
        raise ConfigError("tracking.uri", f"{shown!r} does not answer: {secrets.masked(first_line(error))}") from error
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    ids = [i for i, name in names.items() if experiment is None or name == secrets.masked(experiment)]
    if not ids:
        return []
    found = client.search_runs(ids, max_results=most, order_by=["attributes.start_time DESC"])
    return [
        Row(
            str(run.info.run_id),
            str(run.info.run_name or ""),
            names.get(run.info.experiment_id, ""),
            record_reading.line(run.info.status),
            started := record_reading.number(run.info.start_time, 0.0) / 1000,
            None if run.info.end_time is None else record_reading.number(run.info.end_time, 0.0) / 1000 - started,
            dict(run.data.metrics),
        )
        for run in found
    ]


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
