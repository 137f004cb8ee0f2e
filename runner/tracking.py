"""MLflow: what it is told of a run while it goes on, and how a store is opened."""

import contextlib
import json
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import secrets, stores
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


@dataclass
class _End:
    """The last thing that a tracker is told."""

    status: str
    reason: str


class Tracker:
    """Tells one MLflow run what happens. Deliveries go out in the background, in order."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self._noted: list[tuple[Event | _End, float]] = []  # with the time, in seconds since 1970
        self._sent = time.monotonic()
        self._queue: queue.SimpleQueue[list[tuple[Event | _End, float]]] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._reason = ""
        self._worker = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._worker.start()

    def record(self, event: Event) -> None:
        # Points wait: the thread would take the interpreter away from the training every time it wakes up.
        self._noted.append((event, time.time()))
        points = type(event) is Step or type(event) is Epoch
        if not points or len(self._noted) >= CHUNK or time.monotonic() - self._sent > PERIOD:
            self._send()

    def close(self, status: str, reason: str) -> None:
        """Deliver what is left and end the run. Raises what went wrong in the background."""
        self._noted.append((_End(status, reason), time.time()))
        self._send()
        self._worker.join()
        if self._error is not None:
            raise self._error

    def _send(self) -> None:
        self._sent = time.monotonic()
        noted, self._noted = self._noted, []
        self._queue.put(noted)

    def _work(self) -> None:
        ended = False
        while not ended:
            noted = self._queue.get()
            while not self._queue.empty():  # what came meanwhile goes along: every call takes its time
                noted += self._queue.get()
            ended = isinstance(noted[-1][0], _End)
            for call in self._calls(noted):
                try:
                    call()
                except Exception as error:  # told to the caller by close(); training goes on
                    self._error = self._error or error

    def _calls(self, noted: list[tuple[Event | _End, float]]) -> Iterator[Callable[[], None]]:
        """What is to be done, one after the other; if one fails, the others still are."""
        tags: dict[str, str] = {}
        yield partial(self._log_points, noted)
        for event, _ in noted:
            if isinstance(event, Snapshot):
                yield partial(self._log_checkpoint, event, tags)
            elif isinstance(event, Kept):
                yield partial(self.client.log_artifacts, self.run_id, str(event.folder))
            elif isinstance(event, Finished):
                self._reason = event.reason
        if isinstance(event, _End):
            yield partial(self._end, event, tags)
        elif tags:
            yield partial(self.client.log_batch, self.run_id, tags=_tags(tags))

    def _end(self, event: _End, tags: dict[str, str]) -> None:
        """A run whose record is incomplete has failed, however well it was trained."""
        status, reason = event.status, event.reason or self._reason
        if self._error is not None and status == "FINISHED":
            status, reason = "FAILED", f"{type(self._error).__name__}: {self._error}"
        try:
            self.client.log_batch(
                self.run_id, tags=_tags({**tags, "runner.status_reason": secrets.masked(reason[:5000])})
            )
        except Exception:
            status = "FAILED" if status == "FINISHED" else status
            raise
        finally:
            self.client.set_terminated(self.run_id, status)

    def _log_points(self, noted: list[tuple[Event | _End, float]]) -> None:
        from mlflow.entities import Metric

        steps = [(event, at) for event, at in noted if isinstance(event, Step)]
        values = [
            (n, v, at, e.step) for e, at in noted if isinstance(e, Epoch | Finished) for n, v in e.metrics.items()
        ]
        if steps:
            losses = read([step for step, _ in steps])
            values += [("train/loss", loss, at, step) for (step, loss), (_, at) in zip(losses, steps, strict=True)]
        points = [Metric(name, value, int(at * 1000), step) for name, value, at, step in values]
        for start in range(0, len(points), CHUNK):
            self.client.log_batch(self.run_id, metrics=points[start : start + CHUNK])

    def _log_checkpoint(self, event: Snapshot, tags: dict[str, str]) -> None:
        """The tags that name a checkpoint are written after its files, so that they never point at half of them."""
        place = f"checkpoints/{event.name}"
        self.client.log_artifacts(self.run_id, str(event.folder), place)
        digests = json.loads((event.folder / "sha256.json").read_text())
        told = {"": place, ".step": str(event.step), ".sha256": json.dumps(digests)}
        tags.update({f"checkpoint.{event.name}{key}": value for key, value in told.items()})
        shutil.rmtree(event.folder)


@contextlib.contextmanager
def recording(
    uri: str, experiment: str, run_name: str | None, tags: dict[str, str], params: dict[str, str], files: dict[str, str]
) -> Iterator[Tracker]:
    """An MLflow run that is FINISHED only if the block ends by itself; FAILED or KILLED with the reason otherwise.

    params: dotted key -> value. files: artifact name -> text.
    """
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    from runner.signals import Interrupted

    client = stores.open_store(uri)
    try:
        run_id = client.create_run(stores.experiment(client, uri, experiment), tags=tags, run_name=run_name).info.run_id
    except MlflowException as error:
        raise ConfigError("tracking.uri", f"no run can be made in {uri!r}: {stores.first_line(error)}") from error
    tracker = Tracker(client, run_id)
    try:
        entries = [Param(key, value[:LONGEST_PARAM]) for key, value in params.items()]
        for start in range(0, len(entries), 100):
            client.log_batch(run_id, params=entries[start : start + 100])
        _log_texts(client, run_id, files)
        yield tracker
    except (Interrupted, KeyboardInterrupt) as stop:
        _close(tracker, "KILLED", str(stop) or "interrupted by SIGINT", stop)
        raise
    except BaseException as error:
        import traceback

        with contextlib.suppress(Exception):
            client.log_text(run_id, secrets.masked(traceback.format_exc()), "traceback.txt")
        _close(tracker, "FAILED", f"{type(error).__name__}: {error}", error)
        raise
    tracker.close("FINISHED", "")


def _close(tracker: Tracker, status: str, reason: str, cause: BaseException) -> None:
    """What ended the run is what the caller hears of; a tracker that fails as well is a note to it."""
    try:
        tracker.close(status, reason)
    except Exception as error:
        cause.add_note(f"and the record is incomplete: {type(error).__name__}: {error}")


def _log_texts(client: "MlflowClient", run_id: str, files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
