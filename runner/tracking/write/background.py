"""The thread that takes a run's events into its spool, and delivers the spool to the store while training goes on."""

import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.files import durable
from runner.tracking.store import reconcile, stores
from runner.tracking.write import entries, spool_header
from runner.tracking.write.delivery import CHUNK, Delivery
from runner.tracking.write.entries import End, Events
from runner.tracking.write.spool import Entry, Spool
from runner.training.events import Artifacts, Epoch, Finished, Served, Snapshot, Step, Steps

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Seconds between two deliveries while training goes on, and for how many runs of this process that holds: of more,
#: points wait in the file, and each run has its turn as much later. A delivery is Python, in which nothing is trained.
PERIOD, RUNS = 1.0, 8
#: Seconds in which further events are waited for, to be delivered together: every call of the store takes its time.
TOGETHER = 0.02
#: Seconds until a store that did not answer is tried again: this at first, then twice as long each time, up to BEAT.
AGAIN = 1.0

#: Those of this process whose runs have not ended.
_open: "weakref.WeakSet[Background]" = weakref.WeakSet()


def crowd() -> int:
    """Return the number of this process's runs that have not ended."""
    return len(_open)


class Background:
    """A thread with a queue of events, which it takes in order: first into the spool, then into the store.

    error: the first error of our own code, which fails the run; later events are still recorded.
    silent: why the store has not answered the last delivery; None if it has.
    """

    moves_in = True  # files, into the spool before they are delivered; False: only those that the store does not take

    def __init__(self, client: "MlflowClient", spool: Spool, asks: bool, keep: int) -> None:
        self.client, self.delivery = client, Delivery(client, spool, asks)
        self.error: Exception | None = None
        self.silent: Exception | None = None
        self._spool, self._folder, self.keep = spool, spool.folder, keep
        self._queue: queue.SimpleQueue[Events] = queue.SimpleQueue()
        self._files: list[Entry] = []  # whose files are on their way to the store
        self._beaten = self._checked = time.monotonic()  # the last heartbeat, the last check that the run is RUNNING
        self._wait, self._due = AGAIN, 0.0  # of a store that did not answer
        self._turn = self._closing = 0.0  # before the first, points alone are not delivered
        self._hurries = False  # the process has to stop
        self._numbers, self._reason, self._tags = count(), "", dict[str, str]()
        self._over = threading.Event()  # the thread has ended
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        _open.add(self)

    def begin(self, params: dict[str, str], folder: Path) -> None:
        """Deliver params and the files in `folder`, which goes after this call, and start the thread."""
        self.prepare(params, folder)
        self.start(is_delivered=False)

    def prepare(self, params: dict[str, str], folder: Path | None) -> None:
        """Write params into the spool, and that there are files in `folder`; None: there are none."""
        files = [] if folder is None else self._on_their_way(entries.files(next(self._numbers), folder))
        self._spool.append([{"params": params}, *files])

    def start(self, is_delivered: bool) -> None:
        """Start the thread, after the first delivery. Raises what the store or the disk has refused of it."""
        if not is_delivered:
            self._deliver()
        list(map(self._spool.files.take_in, self._files))
        for refusal in self.delivery.refused:
            raise refusal
        if self._spool.log.error is not None and self.silent is not None:
            raise self._spool.log.error
        self._start()

    def put(self, events: Events) -> None:
        """Hand over events. Returns at once."""
        self._queue.put(events)

    def stop_when(self, stops: Callable[[], Any]) -> None:
        """Give files on their way a few seconds once `stops()` is true; then they stay on this disk."""
        self.delivery.patience.stops = stops

    def hurry(self) -> None:
        """Wait for nothing from here on: the process has to stop."""
        self._hurries, self._closing = True, 0.0
        self.stop_when(lambda: True)

    def close(self) -> None:
        """Count no longer as a run of this process."""
        _open.discard(self)

    def end(self, events: Events, closing: float) -> None:
        """Hand over the last events. Returns at once.

        closing: seconds for a store that does not answer. An interruption makes it 0.
        """
        self._closing = closing  # before the thread sees the end
        self.put(events)
        self._guarded(self._start)

    def wait(self) -> BaseException | None:
        """Wait for the end of the thread. Returns what interrupted the waiting, or None."""
        stop: BaseException | None = None
        while not self._over.is_set():
            try:
                self._over.wait()  # and no join: Python takes a thread whose join is interrupted for ended
            except BaseException as error:
                stop = error
                self.hurry()
        self.close()
        return stop

    def _start(self) -> None:
        try:
            if self._thread.ident is None:
                self._thread.start()
        except BaseException:
            self._over.set()
            raise

    def _work(self) -> None:
        """Take all events, then wait for the store: what the thread does."""
        try:
            for act in (self._take_all, self._wait_for_the_store):
                self._guarded(act)
        finally:
            self._over.set()

    def _take_all(self) -> None:
        events: Events = []
        while not (events and isinstance(events[-1][0], End)):
            events = self._next()
            self._guarded(self._take, events)
            for event, _ in events:
                if isinstance(event, threading.Event):
                    event.set()

    def _next(self) -> Events:
        """Return the next events, and what comes TOGETHER with them. Empty when there is something else to do."""
        events: Events = []
        until = min(self._beaten + reconcile.BEAT, self._due if self.silent else float("inf"))
        with contextlib.suppress(queue.Empty):
            while not (events and isinstance(events[-1][0], End | threading.Event)):
                first = not events
                events += self._queue.get(timeout=max(until - time.monotonic(), 0.01 if first else 0.0))
                until = time.monotonic() + TOGETHER if first else until
        return events

    def _take(self, events: Events) -> None:
        if self._write(events):
            self._deliver(again=_end(events) is not None and self._spool.refuses)
        if _end(events) is None and time.monotonic() - self._beaten > reconcile.BEAT:
            self._beat()

    def _write(self, events: Events) -> bool:
        """Write events into the spool. Returns whether it is to be delivered now."""
        self._follow()
        self._spool.append(list(self._entries(events)))
        for entry in self._files if self.moves_in else ():  # after their entries: files without one would be lost
            if entry["move"] and not self._spool.files.holds(entry):
                self._spool.files.move_in(entry)
        if self.silent is not None and not self._is_worth_a_try(_end(events)):
            self._take_in()
            return False
        return not self._can_wait(events)

    def _follow(self) -> None:
        """Find the store again if the project's folder was moved under the run."""
        self._spool.follow()
        if self._spool.folder == self._folder:
            return
        self._folder = self._spool.folder
        client = self._guarded(stores.open_store, spool_header.store_of(self._folder, self._spool.header))
        if client is not None:
            self.client = client
            self.delivery.use(client)

    def _entries(self, events: Events) -> Iterator[Entry]:
        """Yield the entries for the spool; if one of them cannot be made, the others still are."""
        points = self._guarded(entries.points, events) or []
        yield from ({"points": points[start : start + CHUNK]} for start in range(0, len(points), CHUNK))
        for event, at in events:
            if isinstance(event, Snapshot):
                for folder in event.pieces:
                    yield from self._on_their_way(entries.files(next(self._numbers), folder))
                yield from self._guarded(self._checkpoint, event) or []
            elif isinstance(event, Artifacts):
                yield from self._on_their_way(entries.files(next(self._numbers), event.folder))
            elif isinstance(event, Served):
                yield from self._on_their_way(entries.model(next(self._numbers), event))
            elif isinstance(event, Finished):
                self._reason, self._tags = event.reason, event.tags
            elif isinstance(event, End):
                yield entries.end(event, at, self._reason, self._tags, self.error)

    def _checkpoint(self, event: Snapshot) -> list[Entry]:
        keep = self.keep if event.name == "last" else 1
        return self._on_their_way(entries.checkpoint(next(self._numbers), event, keep))

    def _on_their_way(self, entry: Entry) -> list[Entry]:
        self._files.append(entry)
        return [entry]

    def _is_worth_a_try(self, end: End | None) -> bool:
        """Return whether to ask a store again that did not answer: after a while, and at the end of a run.

        A process that has to stop has 5 s, and a call that hangs would take MLflow's whole time-out.
        """
        return time.monotonic() >= self._due if end is None else end.status != "KILLED"

    def _can_wait(self, events: Events) -> bool:
        """Return whether these are points alone, and it is the turn of other runs."""
        points = bool(events) and all(isinstance(event, Step | Steps | Epoch) for event, _ in events)
        return points and self.silent is None and time.monotonic() < self._turn

    def _deliver(self, again: bool = False) -> None:
        self._turn = time.monotonic() + (PERIOD * len(_open) / RUNS if len(_open) > RUNS else 0.0)
        try:
            self._spool.append([])  # what this disk did not take before
            self.delivery.deliver(again=again)
        except Exception as error:
            self.silent = error
            self._due, self._wait = time.monotonic() + self._wait, min(2 * self._wait, reconcile.BEAT)
            if durable.is_full(error):
                durable.say_full(error)
            elif self._spool.log.error is not None:
                durable.say_failing(self._spool.log.error)
            self._take_in()
            return
        self._delivered()

    def _delivered(self) -> None:
        """Forget files that the store has, and that it did not answer before."""
        self.silent, self._wait, self._due = None, AGAIN, 0.0
        waiting = [entry for entry, _ in self._spool.refused.entries() if "files" in entry]
        numbers = {entry["files"] for entry in waiting}
        for entry in self._files:
            if entry["files"] not in numbers:
                self._spool.files.forget(entry)
        self._files = [entry for entry in self._files if entry["files"] in numbers]
        self._take_in()

    def _take_in(self) -> None:
        """Move files that could not be delivered into the spool; of each checkpoint as many as the run keeps."""
        self._follow()
        files = self._spool.files
        for entry in self._files:
            with contextlib.suppress(OSError):  # a full disk: they stay where they are, and are taken in another time
                files.take_in(entry)
        for name in {entry["name"] for entry in self._files if "name" in entry}:
            waiting = [entry for entry in self._files if entry.get("name") == name]
            keep = waiting[-1].get("keep", 1)
            safe = any(map(files.holds, waiting[-keep:]))
            for entry in waiting[:-keep]:
                if safe or not files.holds(entry):
                    files.forget(entry)
                    self._files.remove(entry)

    def _beat(self) -> None:
        """Write a heartbeat. A run that was set to KILLED, because it had none for so long, is RUNNING again."""
        silent, self._beaten = time.monotonic() - self._beaten, time.monotonic()
        with contextlib.suppress(Exception):  # the next one is as good, and what matters waits in the spool
            run_id = self._spool.run_id
            self.client.set_tag(run_id, reconcile.HEARTBEAT, str(int(time.time())))
            if silent > reconcile.GRACE / 2 or self._beaten - self._checked > reconcile.RECHECK:
                reconcile.revive(self.client, run_id)
                self._checked = self._beaten

    def _wait_for_the_store(self) -> None:
        """Try again for a moment at the end of a run, and longer while it is this disk that has no room."""
        begun = time.monotonic()  # what was delivered until here may have taken long
        while self.silent is not None and time.monotonic() < begun + self._closing + self._patience():
            time.sleep(durable.AGAIN)
            self._deliver(again=self._spool.refuses)

    def _patience(self) -> float:
        full = any(error is not None and durable.is_full(error) for error in (self.silent, self._spool.log.error))
        return durable.PATIENCE if full and not self._hurries else 0.0

    def _guarded(self, make: Callable[..., Any], *args: Any) -> Any:
        try:
            return make(*args)
        except BaseException as error:  # Tracker.close raises it; training goes on
            self.error = self.error or (error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _end(events: Events) -> End | None:
    return events[-1][0] if events and isinstance(events[-1][0], End) else None
