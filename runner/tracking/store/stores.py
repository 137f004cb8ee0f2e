"""A tracking store: how it is opened and created, its experiments, its runs."""

import contextlib
import errno
import itertools
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.errors import first_line as first_line
from runner.settings.files import durable, filenames, uris
from runner.settings.files.uris import sqlite_path as sqlite_path
from runner.settings.trust import record_reading, secrets, terminal
from runner.tracking.store import artifacts, moved
from runner.tracking.write import transfer
from runner.tracking.write.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

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
    os.environ.setdefault("MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH", "16384")  # a letter may take nine in a URI
    from mlflow import MlflowClient

    _quiet()  # after MLflow is loaded, which sets it up to talk
    transfer.install()
    path, shown = sqlite_path(uri), secrets.masked_uri(uri)
    if "://" not in uri and uri != "databricks":
        raise ConfigError("tracking.uri", f"{shown!r} is not a URI; expected sqlite:///file.db or http://host:port")
    try:
        if path is None:
            return MlflowClient(uri, uri)
        return _open_sqlite(path)
    except ConfigError:
        raise
    except Exception as error:  # of MLflow, of SQLAlchemy, of Alembic, of the disk
        raise ConfigError("tracking.uri", f"{shown!r} cannot be opened: {secrets.masked(why(error))}") from error


def put(
    client: "MlflowClient",
    run_id: str,
    folder: Path,
    place: str | None,
    patience: Patience,
    lasting: bool = False,
) -> None:
    """The files of `folder` as artifacts in `place`. On a local disk each is whole, or as it was before.

    lasting: they outlive a loss of power, as those of a place of their own do, which checkpoints have.
    Raises whatever the store's own library raises.
    """
    _demand(client)
    if place is not None:
        record_reading.place(place, "a place of artifacts")
    repository, here = artifacts.repository(client, run_id, writes=True), artifacts.local(client, run_id)
    if here is None:
        transfer.run(lambda: repository.log_artifacts(str(folder), place), patience)
        return
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    artifacts.refuse_links(here, [PurePosixPath(place or "", path.relative_to(folder)) for path in files])
    if place is not None:
        durable.publish(sorted(folder.iterdir()), here / place)
        return
    for parent, those in itertools.groupby(files, lambda path: path.parent):
        target = here / parent.relative_to(folder)
        if lasting:
            durable.publish(those, target)
            continue
        target.mkdir(parents=True, exist_ok=True)
        for path in those:
            durable.write(target / path.name, path.read_bytes(), lasting=False)


def holds(client: "MlflowClient", run_id: str, place: str, sizes: Mapping[str, int | None], patience: Patience) -> bool:
    """Whether the artifacts in `place` have files of these names and sizes; None stands for any size."""
    record_reading.place(place, "a place of artifacts")
    here = artifacts.local(client, run_id)
    if here is not None:
        found = {path.name: path.stat().st_size for path in (here / place).glob("*")}
    else:
        files = transfer.run(lambda: artifacts.repository(client, run_id).list_artifacts(place), patience)
        found = {Path(file.path).name: file.file_size for file in files}
    return all(name in found and (None in (size, found[name]) or size == found[name]) for name, size in sizes.items())


def delete(client: "MlflowClient", run_id: str, place: str, patience: Patience) -> None:
    """Delete the artifacts in `place`. What a store elsewhere cannot or may not delete stays."""
    _demand(client)
    record_reading.place(place, "a place of artifacts")
    repository, here = artifacts.repository(client, run_id, writes=True), artifacts.local(client, run_id)
    if here is None:
        transfer.run(lambda: _remove(repository, place), patience)
        return
    artifacts.refuse_links(here, [PurePosixPath(place)])
    if (here / place).exists():  # MLflow takes `%20` of a folder's name for a space here
        shutil.rmtree(here / place)


def _remove(elsewhere: "ArtifactRepository", place: str) -> None:
    """One by one: stores of older MLflows delete whatever begins with the name, and best-10 begins with best-1."""
    for file in elsewhere.list_artifacts(place):
        with contextlib.suppress(Exception):
            elsewhere.delete_artifacts(file.path)


def _demand(client: "MlflowClient") -> None:
    """Raise OSError if a local store's file is gone: to write beside it would make its former folder anew."""
    path = sqlite_path(client.tracking_uri)
    if path is not None and not path.exists():
        raise OSError(errno.ESTALE, "is not there any more; it was moved or deleted under the run", str(path))


@dataclass
class _Store:
    """A local store that this process has opened."""

    inode: int
    client: "MlflowClient"
    folder: Path  # that artifacts are beside
    before: int  # files that were opened under this name before
    engine: Any  # SQLAlchemy's, which holds the connections; MLflow would open the store again to be asked for it

    def close_idle(self) -> None:
        """Close the connections that nobody uses now; what asks the store again opens one."""
        if self.engine is not None:
            self.engine.dispose()


#: Local stores of which connections stay open: MLflow keeps those of all, up to the limit of files for a process.
OPEN = 8
#: SQLite file -> what is open: every job of a sweep opens the store that the one before has opened.
_stores: dict[Path, _Store] = {}


def _open_sqlite(path: Path) -> "MlflowClient":
    from filelock import FileLock
    from mlflow import MlflowClient

    if not path.parent.is_dir():
        raise ConfigError("tracking.uri", f"there is no folder {path.parent}")
    known, before = _stores.get(path), 0
    if known is not None:
        there = path.exists() and path.stat().st_ino == known.inode
        folder = moved.recorded(path, known.folder) if there else None
        if folder is not None and moved.is_same(folder, path):
            _stores[path] = _stores.pop(path)  # the newest
            return known.client
        if folder is None:  # another file has taken its place
            known.close_idle()
            before, known = known.before + 1, None
    uri = uris.sqlalchemy(path, before)  # MLflow keeps a store, and its connections, by the text of its URI
    # MLflow creates tables without a lock, and two processes at once break the store.
    with FileLock(f"{path}.lock"), _taken_back(path):
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA journal_mode=WAL")  # kept in the file: the UI can read while a run writes
            [(tables,)] = file.execute("SELECT count(*) FROM sqlite_master")
        if not tables and not uris.is_plain(str(Path.cwd())):
            _make_tables(uri, path)
        client = known.client if known else MlflowClient(uri, uri)
        folder, message = moved.follow(path)
    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    _stores.pop(path, None)  # so that it is the newest
    _stores[path] = _Store(path.stat().st_ino, client, folder, before, getattr(store, "engine", None))
    for other in list(_stores)[-OPEN - 1 : -OPEN]:  # those before it are closed
        _stores[other].close_idle()
    if message:
        artifacts.forget()
        terminal.say(message)
    return client


def _make_tables(uri: str, path: Path) -> None:
    """Make MLflow's tables where a folder has quotes or colons in its name: MLflow writes them into SQL as they are."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, (path.parent / moved.FOLDER).as_uri())


@contextlib.contextmanager
def _taken_back(path: Path) -> Iterator[None]:
    """Half a store is none: one that a block cannot make is deleted."""
    new = not path.exists()
    try:
        yield
    except BaseException:
        for end in ("", "-wal", "-shm", "-journal") if new else ():
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
        raise


def experiment(client: "MlflowClient", uri: str, name: str) -> "Experiment":
    """Return the experiment, made if there is none. A local store keeps its artifacts beside itself.

    Raises ConfigError for one that was deleted.
    """
    from mlflow.exceptions import MlflowException

    name = secrets.masked(name)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made = client.create_experiment(name, artifact_location=_artifacts(uri, name), tags=MACHINE_LEARNING)
            return client.get_experiment(made)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError("tracking.experiment", f"{name!r} was deleted from this store; restore it, or name another")
    return found


def _artifacts(uri: str, experiment: str) -> str | None:
    """Beside a local store; a server decides for itself."""
    path = sqlite_path(uri)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment).lstrip(".") or "_"
    return None if path is None else (_stores[path].folder / moved.FOLDER / filenames.bounded(safe)).as_uri()


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

    from runner.tracking.store.reconcile import reconcile

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
            None
            if run.info.end_time is None
            else max(0.0, record_reading.number(run.info.end_time, 0.0) / 1000 - started),
            dict(run.data.metrics),
        )
        for run in found
    ]


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # pages of SQL, of what is raised as well


def is_deleted(client: "MlflowClient", run: str) -> bool:
    """Whether `run` is the whole id of a run that was deleted, and can be restored."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(run.isalnum() and client.get_run(run).info.lifecycle_stage == "deleted")
    except MlflowException:
        return False


def is_missing(error: Exception) -> bool:
    """Whether the store has answered, and has no such run: it was deleted for good."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def why(error: Exception) -> str:
    """Return in one line why a store does not answer: the disk's error, or the library's, with its class."""
    from mlflow.exceptions import MlflowException

    plain = isinstance(error, MlflowException | OSError | RuntimeError | ConfigError) and first_line(error)
    said = first_line(error) if plain else f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
    return durable.reason(error) or said
