"""A tracking store: how it is opened and created, its experiments, its runs."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError, first_line, labelled
from runner.settings.files import durable, filenames, uris
from runner.settings.files.uris import sqlite_path as sqlite_path
from runner.settings.trust import record_reading, secrets, terminal
from runner.tracking.store import artifact_places, mlflow_private, moved, search, transfer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

#: Without it the UI shows an experiment as one of language models, with tabs for traces and judges.
MACHINE_LEARNING = {"mlflow.experimentKind": "custom_model_development"}


def open_store(uri: str) -> "MlflowClient":
    """Return the client of a tracking store. A local SQLite store that does not exist is created.

    uri: sqlite:///file.db, http://host:port, or whatever else MLflow opens, databricks among others.
    Several processes may create the same store at once: one does, the others wait.
    Raises ConfigError for a text that is no URI, for a folder that does not exist, and for a store that cannot be
    opened. A server is not asked for anything yet.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A dead server would hold a call for 247 s. The spool tries again, and asks first, which MLflow would not.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH", "16384")  # a letter may take nine in a URI
    from mlflow import MlflowClient

    _quiet()  # after MLflow is loaded, which sets up its loggers
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


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs pages of SQL, of errors too that are raised and reported.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass
class _Store:
    """A local store that this process has opened."""

    inode: int
    client: "MlflowClient"
    folder: Path  # that artifacts are beside
    before: int  # files that were opened under this name before
    engine: Any  # SQLAlchemy's, which holds the connections

    def close_idle(self) -> None:
        """Close the connections that are not in use. The next call of the store opens one."""
        self.engine.dispose()


#: Local stores of which connections stay open: MLflow keeps those of all, up to the limit of files for a process.
OPEN = 8
#: SQLite file -> the store: every job of a sweep opens the store that the one before has opened.
_stores: dict[Path, _Store] = {}


def _open_sqlite(path: Path) -> "MlflowClient":
    from filelock import FileLock
    from mlflow import MlflowClient

    if not path.parent.is_dir():
        raise ConfigError("tracking.uri", f"there is no folder {path.parent}; make it, or name another file")
    store, before = _stores.get(path), 0
    if store is not None:
        is_that_file = path.exists() and path.stat().st_ino == store.inode
        folder = moved.recorded(path, store.folder) if is_that_file else None
        if folder is not None and moved.is_same(folder, path):
            _stores[path] = _stores.pop(path)  # so that it is the newest
            return store.client
        if folder is None:  # another file has taken its place
            store.close_idle()
            before, store = store.before + 1, None
    uri = uris.sqlalchemy(path, before)  # MLflow keeps a store, and its connections, by the text of its URI
    # MLflow creates tables without a lock, and two processes at once break the store.
    with FileLock(f"{path}.lock"), _deleted_on_failure(path):
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA journal_mode=WAL")  # stays with the file: the UI can read while a run writes
            [(tables,)] = file.execute("SELECT count(*) FROM sqlite_master")
        if not tables and not uris.is_plain(str(Path.cwd())):
            # MLflow writes quotes and colons in the working directory's name into SQL as they are.
            mlflow_private.make_tables(uri, path.parent / moved.FOLDER)
        client = store.client if store else MlflowClient(uri, uri)
        folder, message = moved.follow(path)
    _stores.pop(path, None)  # so that it is the newest
    _stores[path] = _Store(path.stat().st_ino, client, folder, before, mlflow_private.engine(client))
    for other in list(_stores)[-OPEN - 1 : -OPEN]:  # those before it are closed
        _stores[other].close_idle()
    if message:
        artifact_places.forget()
        terminal.say(message)
    return client


@contextlib.contextmanager
def _deleted_on_failure(path: Path) -> Iterator[None]:
    """Delete a new store that the block cannot complete."""
    new = not path.exists()
    try:
        yield
    except BaseException:
        for end in ("", "-wal", "-shm", "-journal") if new else ():
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
        raise


def experiment(client: "MlflowClient", uri: str, name: str) -> "Experiment":
    """Return the experiment of that name, created if there is none. A local store keeps its artifacts beside itself.

    uri: of the store that `client` is for, as a user wrote it.
    Raises ConfigError for an experiment that was deleted, MlflowException if the store cannot create one.
    """
    from mlflow.exceptions import MlflowException

    name = secrets.masked(name)
    existing = client.get_experiment_by_name(name)
    if existing is None:
        try:
            new_id = client.create_experiment(name, artifact_location=_artifacts(uri, name), tags=MACHINE_LEARNING)
            return client.get_experiment(new_id)
        except MlflowException:  # another process was faster
            existing = client.get_experiment_by_name(name)
            if existing is None:
                raise
    if existing.lifecycle_stage != "active":
        raise ConfigError("tracking.experiment", f"{name!r} was deleted from this store; restore it, or name another")
    return existing


def _artifacts(uri: str, experiment: str) -> str | None:
    """Return the place of an experiment's artifacts beside a local store; None for a server, which decides itself."""
    path = sqlite_path(uri)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment).lstrip(".") or "_"
    return None if path is None else (_stores[path].folder / moved.FOLDER / filenames.bounded(safe)).as_uri()


@dataclass
class Row:
    """One line of `runner runs`. None and "" stand for what the store does not have."""

    run_id: str
    name: str
    experiment: str
    status: str
    started: float | None  # seconds since 1970
    seconds: float | None
    metrics: dict[str, float]
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: str = ""  # where they are, as a URI


#: The usual order of runs; those without a start time are at the end.
NEWEST = "attributes.start_time DESC"


def rows(
    uri: str, experiment: str | None = None, most: int = 50, condition: str = "", order_by: str = NEWEST
) -> list[Row]:
    """Return at most `most` runs of a store that satisfy `condition`, in the order of `order_by`.

    Runs whose process is gone are set to KILLED before.
    experiment: the name of the only experiment to list; None: all of them.
    condition, order_by: in MLflow's language. Runs that MLflow cannot read are listed without a condition alone.
    Raises ConfigError for a store that does not answer, and for a condition or an order that it refuses.
    """
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
    try:
        runs = search.runs(client, ids, condition, most, [order_by])
    except MlflowException as error:
        if not is_refusal(error):
            raise
        raise ConfigError("filter" if condition else "sort", _refused(condition or order_by, error)) from error
    complete = [row(run, names) for run in runs]
    if condition or order_by != NEWEST:
        return complete
    incomplete = [
        Row(run.run_id, run.name, names[run.experiment_id], record_reading.line(run.status), *run.times, {})
        for run in search.incomplete(client)
        if run.experiment_id in ids
    ]
    newest_first = sorted([*complete, *incomplete], key=lambda row: row.started or 0.0, reverse=True)
    return sorted(newest_first, key=lambda row: row.started is None)[:most]


def _refused(words: str, error: Exception) -> str:
    reason = first_line(error).partition(" Valid keys are")[0].partition(". Valid ")[0]
    return (
        f"{words!r} is refused by MLflow ({record_reading.cut(secrets.masked(reason), 200)}); expected conditions"
        " joined by `and`, such as valid/loss < 0.1, params.optimizer.lr = '0.1', tags.host = 'gpu1' and status ="
        " 'FAILED': texts in single quotes, the whole in double quotes"
    )


def row(run: "Run", experiments: dict[str, str]) -> Row:
    """Return a run as a row of a list. experiments: names by ids."""
    started = record_reading.number(run.info.start_time, 0.0) / 1000
    ended = None if run.info.end_time is None else record_reading.number(run.info.end_time, 0.0) / 1000
    return Row(
        str(run.info.run_id),
        str(run.info.run_name or ""),
        experiments.get(run.info.experiment_id, ""),
        record_reading.line(run.info.status),
        started,
        None if ended is None else max(0.0, ended - started),
        dict(run.data.metrics),
        dict(run.data.params),
        dict(run.data.tags),
        str(run.info.artifact_uri or ""),
    )


def is_deleted(client: "MlflowClient", run: str) -> bool:
    """Return whether `run` is the whole id of a run that was deleted and can be restored."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(run.isalnum() and client.get_run(run).info.lifecycle_stage == "deleted")
    except MlflowException:
        return False


def is_missing(error: Exception) -> bool:
    """Return whether a store has answered that it has no such run: it was deleted for good."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def is_refusal(error: Exception) -> bool:
    """Return whether a store refuses something for good, so that another try would fail too.

    Refusals are named here. All else is tried again: each kind of store has exceptions of its own.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, UnicodeEncodeError)


def refusal(call: Callable[[], object]) -> Exception | None:
    """Make a call to a store. Returns why the store refuses it for good; None if it took it.

    Raises errors of the call that may not come again another time.
    """
    try:
        call()
    except Exception as error:
        if not is_refusal(error):
            raise
        return error
    return None


def why(error: Exception) -> str:
    """Return in one line why a store does not answer: the disk's error, or the library's, with its class."""
    from mlflow.exceptions import MlflowException

    plain = isinstance(error, MlflowException | OSError | RuntimeError | ConfigError) and first_line(error)
    return durable.reason(error) or (first_line(error) if plain else labelled(error))
