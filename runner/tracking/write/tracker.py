"""The observer that tells a tracking store what happens in a run."""

import contextlib
import queue
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.files import durable
from runner.tracking.store import reconcile, stores
from runner.tracking.write import entries, leftover, spool
from runner.tracking.write.delivery import CHUNK, Delivery
from runner.tracking.write.entries import End, Noted
from runner.tracking.write.spool import Entry, Spool
from runner.training.events import Epoch, Event, Finished, Kept, Served, Snapshot, Step

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Seconds between two deliveries while training goes on, and for how many runs of this process that holds: of more,
#: points wait in the file, and each run has its turn as much later. A delivery is Python, in which nothing is trained.
PERIOD, RUNS = 1.0, 8
#: Seconds in which what follows goes along: every call of the store takes its time.
TOGETHER = 0.02
#: Seconds until a store that did not answer is tried again: this at first, then twice as long each time, up to BEAT.
AGAIN = 1.0
#: Seconds in which a run that ends tries to reach a store that does not answer; a call that hangs comes on top.
CLOSING = 3.0
#: MLflow's limit for the value of a param.
LONGEST_PARAM = 6000

#: Those of this process whose runs have not ended.
_open: "weakref.WeakSet[Tracker]" = weakref.WeakSet()


class Tracker:
    """Tells one MLflow run what happens. In the background, in order: first a file on this disk, then the store."""

    def __init__(self, client: "MlflowClient", kept: Spool, asks: bool = False, keep: int = 2) -> None:
        self.client, self.run_id = client, kept.run_id
        self._noted: Noted = []
        self._sent = self._beaten = self._looked = time.monotonic()
        self.began = time.time()  # the run, which does not end before, wherever a clock is set meanwhile
        self._queue: queue.SimpleQueue[Noted] = queue.SimpleQueue()
        self._spool, self._delivery = kept, Delivery(client, kept, asks)
        self._place = kept.folder
        self._files: list[Entry] = []  # whose files are on their way to the store
        self._numbers = count()
        self.keep = keep  # checkpoints `last`
        self.verdict = ("FINISHED", "")  # status and reason of a run whose block ends by itself
        self._hurries = False  # the process was told to stop
        self._error: Exception | None = None  # of the record
        self._silent: Exception | None = None  # of a store that does not answer
        self._wait, self._due, self._closing = AGAIN, 0.0, 0.0
        self._turn = 0.0  # before which points alone are not delivered
        self._reason, self._tags = "", dict[str, str]()
        self._over = threading.Event()  # the background has ended
        self._worker = threading.Thread(target=self._work, name="tracking", daemon=True)
        _open.add(self)

    def begin(self, params: dict[str, str], files: Mapping[str, str | bytes]) -> None:
        """Tell what is known at the start, and go on in the background."""
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            write(Path(folder), files)
            cut = {key: value[:LONGEST_PARAM] for key, value in params.items()}
            self._spool.append([{"params": cut}, *self._on_their_way(entries.files(next(self._numbers), Path(folder)))])
            self._deliver()
            for entry in self._files:  # which is gone with the folder
                self._spool.take_in(entry)
        for refusal in self._delivery.refused:
            raise refusal
        if self._spool.log.error is not None and self._silent is not None:
            raise self._spool.log.error
        self._worker.start()

    def give_up(self) -> None:
        """Leave no trace on this disk of a run that could not begin."""
        _open.discard(self)
        self._spool.remove()

    def record(self, event: Event) -> None:
        # Points wait: the thread would take the interpreter away from the training every time it wakes up.
        self._noted.append((event, time.time()))
        points = type(event) is Step or type(event) is Epoch
        if not points or len(self._noted) >= CHUNK or time.monotonic() - self._sent > PERIOD:
            self._send()

    def drain(self) -> None:
        """Wait until what was told so far is delivered, or the store has not answered."""
        done = threading.Event()
        self._noted.append((done, time.time()))
        self._send()
        done.wait(CLOSING)

    def close(self, status: str, reason: str) -> None:
        """Deliver what is left and end the run. Raises what went wrong in the background.

        Raises Undelivered if the store does not have all of the record. The message tells where the rest is.
        """
        self._noted.append((End(status, reason), max(time.time(), self.began)))
        self._hurries, self._closing = status == "KILLED", CLOSING if status != "KILLED" else 0.0
        if self._hurries:
            self.stop_when(lambda: True)
        self._send()
        self._guarded(self._start)
        stop = self._joined()
        _open.discard(self)
        problem = leftover.problem(self._spool, self._delivery, status, self._error, self._silent)
        if problem is not None and self._silent is None and not self._delivery.ended:
            leftover.end(self.client, self.run_id, problem)
        if self._spool.is_empty:
            self._spool.remove()
        self._spool.release()
        if problem is not None:
            raise problem from (None if problem is self._error else stop or self._error or self._silent)

    def stop_when(self, stops: Callable[[], Any]) -> None:
        """From the time that `stops()` is true, files that are on their way have a few seconds; then they are kept."""
        self._delivery.patience.stops = stops

    def _start(self) -> None:
        try:
            if self._worker.ident is None:
                self._worker.start()
        except BaseException:
            self._over.set()
            raise

    def _joined(self) -> BaseException | None:
        """Wait for the end of the background. An interruption makes it short; it is returned."""
        stop: BaseException | None = None
        while not self._over.is_set():
            try:
                self._over.wait()  # and no join: Python takes a thread whose join is interrupted for ended
            except BaseException as error:
                stop, self._hurries, self._closing = error, True, 0.0
                self.stop_when(lambda: True)
        return stop

    def _send(self) -> None:
        self._sent = time.monotonic()
        noted, self._noted = self._noted, []
        self._queue.put(noted)

    def _work(self) -> None:
        """Run the background. An error, of our own code too, fails the run; later events are still recorded."""
        try:
            self._guarded(self._take_all)
            self._guarded(self._wait_for_the_store)
        finally:
            self._over.set()

    def _take_all(self) -> None:
        noted: Noted = []
        while not (noted and isinstance(noted[-1][0], End)):
            noted = self._next()
            self._guarded(self._take, noted)
            for event, _ in noted:
                if isinstance(event, threading.Event):
                    event.set()

    def _take(self, noted: Noted) -> None:
        end = noted[-1][0] if noted and isinstance(noted[-1][0], End) else None
        self._follow()
        self._spool.append(list(self._entries(noted)))
        for entry in self._files:  # after that: files that nothing tells of would be lost with the process
            if entry["move"] and not self._spool.holds(entry):
                self._spool.move_in(entry)
        if self._silent is not None and not self._is_worth_a_try(end):
            self._take_in()
        elif not self._can_wait(noted):
            self._deliver(again=end is not None and self._spool.refuses)
        if end is None and time.monotonic() - self._beaten > reconcile.BEAT:
            self._beat()

    def _wait_for_the_store(self) -> None:
        """At the end of a run: for a moment, and longer where it is this disk that has no room."""
        begun = time.monotonic()  # what was delivered until here may have taken long
        while self._silent is not None and time.monotonic() < begun + self._closing + self._patience():
            time.sleep(durable.AGAIN)
            self._deliver(again=self._spool.refuses)

    def _patience(self) -> float:
        full = any(error is not None and durable.is_full(error) for error in (self._silent, self._spool.log.error))
        return durable.PATIENCE if full and not self._hurries else 0.0

    def _follow(self) -> None:
        """Go on where the store is by now, if the project's folder was moved under the run."""
        self._spool.follow()
        if self._spool.folder == self._place:
            return
        self._place = self._spool.folder
        client = self._guarded(stores.open_store, spool.store_of(self._spool))
        if client is not None:
            self.client = self._delivery.client = client

    def _can_wait(self, noted: Noted) -> bool:
        """Whether these are points alone, and others have their turn before."""
        points = bool(noted) and all(isinstance(event, Step | Epoch) for event, _ in noted)
        return points and self._silent is None and time.monotonic() < self._turn

    def _is_worth_a_try(self, end: End | None) -> bool:
        """Whether a store that did not answer is asked again: after a while, and at the end of a run.

        A process that was told to stop has 5 s, and a call that hangs would take MLflow's whole time-out.
        """
        return time.monotonic() >= self._due if end is None else end.status != "KILLED"

    def _next(self) -> Noted:
        """What was told meanwhile, and what comes TOGETHER with it. Empty when there is something else to do."""
        noted: Noted = []
        until = min(self._beaten + reconcile.BEAT, self._due if self._silent else float("inf"))
        with contextlib.suppress(queue.Empty):
            while not (noted and isinstance(noted[-1][0], End | threading.Event)):
                first = not noted
                noted += self._queue.get(timeout=max(until - time.monotonic(), 0.01 if first else 0.0))
                until = time.monotonic() + TOGETHER if first else until
        return noted

    def _deliver(self, again: bool = False) -> None:
        self._turn = time.monotonic() + (PERIOD * len(_open) / RUNS if len(_open) > RUNS else 0.0)
        try:
            self._spool.append([])  # what this disk did not take before
            self._delivery.deliver(again=again)
        except Exception as error:
            self._silent = error
            self._due, self._wait = time.monotonic() + self._wait, min(2 * self._wait, reconcile.BEAT)
            if durable.is_full(error):
                durable.say_full(error)
            elif self._spool.log.error is not None:
                durable.say_failing(self._spool.log.error)
            self._take_in()
            return
        self._silent, self._wait, self._due = None, AGAIN, 0.0
        waiting = [entry for entry, _ in self._spool.refused.entries() if "files" in entry]
        numbers = {entry["files"] for entry in waiting}
        for entry in self._files:
            if entry["files"] not in numbers:
                self._spool.forget(entry)
        self._files = [entry for entry in self._files if entry["files"] in numbers]
        self._take_in()

    def _take_in(self) -> None:
        """Files that could not be delivered move into the spool; of each checkpoint as many stay as the run keeps."""
        self._follow()
        for entry in self._files:
            with contextlib.suppress(OSError):  # a full disk: they stay where they are, and are taken in another time
                self._spool.take_in(entry)
        for name in {entry["name"] for entry in self._files if "name" in entry}:
            waiting = [entry for entry in self._files if entry.get("name") == name]
            keep = waiting[-1].get("keep", 1)
            safe = any(map(self._spool.holds, waiting[-keep:]))
            for entry in waiting[:-keep]:
                if safe or not self._spool.holds(entry):
                    self._spool.forget(entry)
                    self._files.remove(entry)

    def _beat(self) -> None:
        """Say that the process is there. A run that was given up, because it was silent for so long, runs again."""
        silent, self._beaten = time.monotonic() - self._beaten, time.monotonic()
        with contextlib.suppress(Exception):  # the next one is as good, and what matters waits in the spool
            self.client.set_tag(self.run_id, reconcile.HEARTBEAT, str(int(time.time())))
            if silent > reconcile.GRACE / 2 or self._beaten - self._looked > reconcile.LOOK:
                reconcile.revive(self.client, self.run_id)
                self._looked = self._beaten

    def _entries(self, noted: Noted) -> Iterator[Entry]:
        """What is to be told; if one part cannot be, the others still are."""
        points = self._guarded(entries.points, noted) or []
        yield from ({"points": points[start : start + CHUNK]} for start in range(0, len(points), CHUNK))
        for event, at in noted:
            if isinstance(event, Snapshot):
                for folder in event.pieces:
                    yield from self._on_their_way(entries.files(next(self._numbers), folder))
                yield from self._guarded(self._checkpoint, event) or []
            elif isinstance(event, Kept):
                yield from self._on_their_way(entries.files(next(self._numbers), event.folder))
            elif isinstance(event, Served):
                yield from self._on_their_way(entries.model(next(self._numbers), event))
            elif isinstance(event, Finished):
                self._reason, self._tags = event.reason, event.tags
            elif isinstance(event, End):
                yield entries.end(event, at, self._reason, self._tags, self._error)

    def _guarded(self, make: Callable[..., Any], *args: Any) -> Any:
        try:
            return make(*args)
        except BaseException as error:  # raised by close(); training goes on
            self._error = self._error or (error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _checkpoint(self, event: Snapshot) -> list[Entry]:
        keep = self.keep if event.name == "last" else 1
        return self._on_their_way(entries.checkpoint(next(self._numbers), event, keep))

    def _on_their_way(self, entry: Entry) -> list[Entry]:
        self._files.append(entry)
        return [entry]


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files by their names, which may have folders in them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
