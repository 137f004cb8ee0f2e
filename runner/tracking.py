"""MLflow: what it is told of a run while it goes on, and how a store is opened."""

import contextlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.events import Epoch, Event, Finished, Kept, Snapshot, Step
from runner.history import read
from runner.lookup import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Points per call: what MLflow's servers accept at once.
CHUNK = 1000
#: Seconds between two deliveries while training goes on.
PERIOD = 1.0
#: MLflow's limit for the value of a param.
LONGEST_PARAM = 6000
#: Without it the UI shows an experiment as one of language models, with tabs for traces and judges.
MACHINE_LEARNING = {"mlflow.experimentKind": "custom_model_development"}


class Tracker:
    """Tells one MLflow run what happens. Deliveries go out in the background, in order."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self._steps: list[tuple[Step, int]] = []
        self._sent = time.monotonic()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._reason = ""
        self._worker = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._worker.start()

    def record(self, event: Event) -> None:
        if type(event) is Step:
            self._steps.append((event, time.time_ns() // 1_000_000))
            if len(self._steps) >= CHUNK or time.monotonic() - self._sent > PERIOD:
                self._send()
            return
        self._send_steps_and(event)

    def close(self, status: str, reason: str) -> None:
        """Deliver what is left and end the run. Raises what went wrong in the background."""
        self._send()
        self._queue.put(("end", status, reason))
        self._queue.put(None)
        self._worker.join()
        if self._error is not None:
            raise self._error

    def _send_steps_and(self, event: Event) -> None:
        # An epoch's figures wait for the next delivery; files and the end do not.
        self._queue.put((event, time.time_ns() // 1_000_000))
        if not isinstance(event, Epoch):
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        steps, self._steps = self._steps, []
        self._queue.put(("steps", steps))

    def _work(self) -> None:
        points: list[Any] = []
        while (item := self._queue.get()) is not None:
            try:
                self._deliver(item, points)
            except Exception as error:  # told to the caller by close(); training goes on
                self._error = self._error or error

    def _deliver(self, item: Any, points: list[Any]) -> None:
        """Points are gathered until a `steps` item asks for their delivery."""
        from mlflow.entities import Metric

        match item:
            case ("steps", steps):
                if steps:
                    times = [ms for _, ms in steps]
                    losses = read([step for step, _ in steps])
                    points += [Metric("train/loss", v, ms, s) for (s, v), ms in zip(losses, times, strict=True)]
                while points:
                    batch, points[:CHUNK] = points[:CHUNK], []
                    self.client.log_batch(self.run_id, metrics=batch)
            case (Epoch() as event, ms):
                points += [Metric(name, value, ms, event.step) for name, value in event.metrics.items()]
            case (Snapshot() as event, _):
                self._checkpoint(event)
            case (Finished() as event, ms):
                self._reason = event.reason
                tests = {n: v for n, v in event.metrics.items() if n.startswith("test/")}
                points += [Metric(name, value, ms, event.step) for name, value in tests.items()]
            case (Kept() as event, _):
                self.client.log_artifacts(self.run_id, str(event.folder))
            case ("end", status, reason):
                self.client.log_batch(
                    self.run_id, tags=_tags({"runner.status_reason": (reason or self._reason)[:5000]})
                )
                self.client.set_terminated(self.run_id, status)

    def _checkpoint(self, event: Snapshot) -> None:
        """The tag that names a checkpoint is written after its files, so that it never points at half of them."""
        place = f"checkpoints/{event.name}"
        self.client.log_artifacts(self.run_id, str(event.folder), place)
        digests = (event.folder / "sha256.json").read_text()
        told = {"": place, ".step": str(event.step), ".sha256": json.dumps(json.loads(digests))}
        self.client.log_batch(self.run_id, tags=_tags({f"checkpoint.{event.name}{k}": v for k, v in told.items()}))


@contextlib.contextmanager
def recording(
    uri: str, experiment: str, run_name: str | None, tags: dict[str, str], params: dict[str, str], files: dict[str, str]
) -> Iterator[Tracker]:
    """An MLflow run that is FINISHED only if the block ends by itself; FAILED or KILLED with the reason otherwise.

    params: dotted key -> value. files: artifact name -> text.
    """
    from mlflow.entities import Param

    from runner.signals import Interrupted

    client = open_store(uri)
    run_id = client.create_run(_experiment(client, uri, experiment), tags=tags, run_name=run_name).info.run_id
    tracker = Tracker(client, run_id)
    try:
        entries = [Param(key, value[:LONGEST_PARAM]) for key, value in params.items()]
        for start in range(0, len(entries), 100):
            client.log_batch(run_id, params=entries[start : start + 100])
        for name, text in files.items():
            client.log_text(run_id, text, name)
        yield tracker
    except (Interrupted, KeyboardInterrupt) as stop:
        tracker.close("KILLED", str(stop) or "interrupted by SIGINT")
        raise
    except BaseException as error:
        import traceback

        with contextlib.suppress(Exception):
            client.log_text(run_id, traceback.format_exc(), "traceback.txt")
        tracker.close("FAILED", f"{type(error).__name__}: {error}")
        raise
    tracker.close("FINISHED", "")


def open_store(uri: str) -> "MlflowClient":
    """The client of a tracking store. A local SQLite store that does not exist is created, by one process at a time."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    _quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    path = sqlite_path(uri)
    try:
        if path is None:
            return MlflowClient(uri, uri)
        return _open_sqlite(path)
    except MlflowException as error:
        raise ConfigError("tracking.uri", f"{uri!r} cannot be opened: {_first_line(error)}") from error


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite:/// URI, absolute; None for any other store."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _open_sqlite(path: Path) -> "MlflowClient":
    from filelock import FileLock
    from mlflow import MlflowClient

    uri = f"sqlite:///{path}"
    if not path.parent.is_dir():
        raise ConfigError("tracking.uri", f"there is no folder {path.parent}")
    with FileLock(f"{path}.lock"):  # MLflow creates tables without one, and two processes at once break the store
        client = MlflowClient(uri, uri)
        with contextlib.closing(sqlite3.connect(path)) as store:
            store.execute("PRAGMA journal_mode=WAL")  # kept in the file: the UI can read while a run writes
    return client


def _experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment's id. A local store keeps artifacts beside itself, whatever directory a later reader is in."""
    from mlflow.exceptions import MlflowException

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
    return str(found.experiment_id)


def _artifacts(uri: str, experiment: str) -> str | None:
    """Beside a local store; a server decides for itself."""
    path = sqlite_path(uri)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment)
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
    client = open_store(uri)
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    ids = [i for i, name in names.items() if experiment is None or name == experiment]
    if not ids:
        return []
    found = client.search_runs(ids, max_results=most, order_by=["attributes.start_time DESC"])
    return [
        Row(
            run.info.run_id,
            run.info.run_name,
            names[run.info.experiment_id],
            run.info.status,
            run.info.start_time / 1000,
            None if run.info.end_time is None else (run.info.end_time - run.info.start_time) / 1000,
            dict(run.data.metrics),
        )
        for run in found
    ]


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
