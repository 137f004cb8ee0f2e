"""The observer that records a run: it hands the run's events to the background, which delivers them to the store."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.tracking.write import background, leftover
from runner.tracking.write.background import Background
from runner.tracking.write.delivery import CHUNK, Delivery
from runner.tracking.write.entries import End, Events
from runner.tracking.write.group import Group
from runner.tracking.write.spool import Spool
from runner.training.events import Epoch, Event, Step, Steps

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Seconds in which a run that ends tries to reach a store that does not answer; a call that hangs comes on top.
CLOSING = 3.0
#: MLflow's limit for the value of a param, in characters.
LONGEST_PARAM = 6000


class Tracker:
    """The observer that records one MLflow run, in the background: first into a file on this disk, then into the store.

    spool: of the run, open. asks: the store has a part of the record already. keep: how many checkpoints `last`.
    group: whose thread delivers this record with those of other runs; None: it has a thread of its own.
    """

    takes_steps = True

    def __init__(
        self, client: "MlflowClient", spool: Spool, asks: bool = False, keep: int = 2, group: Group | None = None
    ) -> None:
        self.run_id = spool.run_id
        self.experiment_id = ""  # of a run that `recording` has made or taken over
        self.began = time.time()  # the run, which does not end before, wherever a clock is set meanwhile
        self.verdict = ("FINISHED", "")  # status and reason of a run whose block ends by itself
        self._events: Events = []
        self._sent = time.monotonic()
        make = Background if group is None else group.background
        self._spool, self._background = spool, make(client, spool, asks, keep)
        self._ended = ""  # the status that the run was ended with

    @property
    def client(self) -> "MlflowClient":
        """The client of the store, which is another one after the store was moved."""
        return self._background.client

    @property
    def folder(self) -> Path:
        """The folder of the run's spool."""
        return self._spool.folder

    def begin(self, params: dict[str, str], files: Mapping[str, str | bytes]) -> None:
        """Deliver what is known at the start, and start the background.

        params: dotted key -> value, cut at LONGEST_PARAM. files: artifact name -> content.
        Raises MlflowException if the store refuses a part of it for good, OSError if neither the store nor the disk
        takes it.
        """
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            write(Path(folder), files)
            self._background.begin({key: value[:LONGEST_PARAM] for key, value in params.items()}, Path(folder))

    def prepare(self, params: dict[str, str]) -> Delivery:
        """Write params into the spool, as `begin` does. Returns the delivery, after which `start` follows."""
        self._background.prepare({key: value[:LONGEST_PARAM] for key, value in params.items()}, None)
        return self._background.delivery

    def start(self, is_delivered: bool) -> None:
        """Start the background of a run whose beginning was prepared. Raises what `begin` raises.

        is_delivered: whether it was delivered; False: it is now.
        """
        self._background.start(is_delivered)

    def give_up(self) -> None:
        """Leave no trace on this disk of a run that could not begin."""
        self._background.close()
        self._spool.remove()

    def record(self, event: Event) -> None:
        """Record an event, later: the background takes the interpreter from the training every time it wakes up."""
        self._events.append((event, time.time()))
        points = type(event) in (Step, Steps, Epoch)
        if not points or len(self._events) >= CHUNK or time.monotonic() - self._sent > background.PERIOD:
            self._send()

    def drain(self) -> None:
        """Wait until the events so far are delivered, or the store has not answered."""
        done = threading.Event()
        self._events.append((done, time.time()))
        self._send()
        done.wait(CLOSING)

    def stop_when(self, stops: Callable[[], Any]) -> None:
        """Give files on their way a few seconds once `stops()` is true; then they stay on this disk."""
        self._background.stop_when(stops)

    def end(self, status: str, reason: str) -> None:
        """Hand over the end of the run; `close` waits until all of the record is delivered. Returns at once."""
        self._events.append((End(status, reason), max(time.time(), self.began)))
        self._ended = status
        if status == "KILLED":
            self._background.hurry()
        self._background.end(self._events, 0.0 if status == "KILLED" else CLOSING)

    def close(self, status: str, reason: str) -> None:
        """Deliver what is left and end the run with a status of MLflow's and the reason for it.

        One that `end` has ended keeps its status.
        Raises Undelivered if the store does not have all of the record, whose message names where the rest is. Raises
        errors of our own code in the background.
        """
        if not self._ended:
            self.end(status, reason)
        status, stop = self._ended, self._background.wait()
        error, silent, delivery = self._background.error, self._background.silent, self._background.delivery
        problem = leftover.problem(self._spool, delivery, status, error, silent)
        if problem is not None and silent is None and not delivery.ended:
            leftover.end(self.client, self.run_id, problem)
        if self._spool.is_empty:
            self._spool.remove()
        self._spool.release()
        if problem is not None:
            raise problem from (None if problem is error else stop or error or silent)

    def _send(self) -> None:
        self._sent = time.monotonic()
        events, self._events = self._events, []
        self._background.put(events)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files by their names, which may have folders in them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
