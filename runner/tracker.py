"""The observer that tells a tracking store what happens in a run."""

import contextlib
import queue
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import entries, reconcile, spool, stores
from runner.delivery import CHUNK, Delivery
from runner.entries import End, Noted
from runner.events import Epoch, Event, Finished, Kept, Snapshot, Step
from runner.spool import Entry, Spool, Undelivered

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
        self._sent = self._beaten = time.monotonic()
        self._queue: queue.SimpleQueue[Noted] = queue.SimpleQueue()
        self._spool, self._delivery = kept, Delivery(client, kept, asks)
        self._held: list[Entry] = []  # what this disk did not take
        self._outside: list[Entry] = []  # whose files are not in the spool
        self._kept: dict[str, Entry] = {}  # name -> checkpoint that waits in the spool
        self._numbers = count()
        self.keep = keep  # checkpoints `last`
        self.verdict = ("FINISHED", "")  # status and reason of a run whose block ends by itself
        self.checkpoints: dict[str, list[dict[str, Any]]] = {}  # name -> place, step and sha256 of each, newest first
        self._error: Exception | None = None  # of the record
        self._silent: Exception | None = None  # of a store that does not answer
        self._wait, self._due, self._closing = AGAIN, 0.0, 0.0
        self._turn = 0.0  # before which points alone are not delivered
        self._reason, self._tags = "", dict[str, str]()
        self._worker = threading.Thread(target=self._work, name="tracking", daemon=True)
        _open.add(self)

    def begin(self, params: dict[str, str], files: Mapping[str, str | bytes]) -> None:
        """Tell what is known at the start, and go on in the background."""
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
            cut = {key: value[:LONGEST_PARAM] for key, value in params.items()}
            self._write([{"params": cut}, *self._files(entries.files(next(self._numbers), Path(folder)))])
            self._deliver()
            for refusal in self._delivery.refused:
                raise refusal
        self._worker.start()

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

        Raises Undelivered if the store did not answer: everything is in the spool then.
        """
        self._noted.append((End(status, reason), time.time()))
        self._closing = time.monotonic() + (CLOSING if status != "KILLED" else 0.0)
        self._send()
        if self._worker.ident is None:
            self._worker.start()
        self._worker.join()
        _open.discard(self)
        if self._silent is None and not self._held:
            self._spool.remove()
        self._spool.release()
        error = self._error or next(iter(self._delivery.refused), None)
        if self._silent is not None:
            raise Undelivered(status, self._undelivered(status)) from error
        if error is not None:
            raise error

    def _undelivered(self, status: str) -> str:
        why = stores.first_line(self._silent or Exception())
        return (
            f"run {self.run_id} is {status}, but the store does not know all of it: {why}\n"
            f"the rest is kept in {self._spool.folder}; to deliver it, in this directory: {spool.sync(self._spool)}"
        )

    def _send(self) -> None:
        self._sent = time.monotonic()
        noted, self._noted = self._noted, []
        self._queue.put(noted)

    def _work(self) -> None:
        end: End | None = None
        while end is None:
            noted = self._next()
            end = noted[-1][0] if noted and isinstance(noted[-1][0], End) else None
            self._write(list(self._entries(noted)))
            if self._silent is not None and not self._is_worth_a_try(end):
                self._take_in()
            elif not self._can_wait(noted):
                self._deliver()
            if end is None and time.monotonic() - self._beaten > reconcile.BEAT:
                self._beat()
            for event, _ in noted:
                if isinstance(event, threading.Event):
                    event.set()
        while self._silent is not None and time.monotonic() < self._closing:
            time.sleep(0.5)
            self._deliver()

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

    def _write(self, told: list[Entry]) -> None:
        try:
            self._held += told
            self._spool.append(self._held)
            self._held = []
        except OSError as error:  # told to the caller by close(); training goes on
            self._error = self._error or error

    def _deliver(self) -> None:
        self._turn = time.monotonic() + (PERIOD * len(_open) / RUNS if len(_open) > RUNS else 0.0)
        try:
            self._delivery.deliver()
        except Exception as error:
            self._silent = error
            self._due, self._wait = time.monotonic() + self._wait, min(2 * self._wait, reconcile.BEAT)
            self._take_in()
            return
        self._silent, self._wait, self._due = None, AGAIN, 0.0
        for entry in [*self._outside, *self._kept.values()]:
            if entry["move"]:
                shutil.rmtree(entry["from"], ignore_errors=True)
            self._spool.forget(entry)
        self._outside, self._kept = [], {}

    def _take_in(self) -> None:
        """Files that could not be delivered move into the spool; of each checkpoint only the newest."""
        for entry in self._outside:
            try:
                self._spool.keep(entry, entry["move"])
            except OSError as error:
                self._error = self._error or error
            if entry["move"]:
                older = self._kept.get(entry["name"])
                if older is not None:
                    self._spool.drop(older)
                self._kept[entry["name"]] = entry
        self._outside = []

    def _beat(self) -> None:
        """Say that the process is there. A run that was given up, because it was silent for so long, runs again."""
        silent, self._beaten = time.monotonic() - self._beaten, time.monotonic()
        with contextlib.suppress(Exception):  # the next one is as good, and what matters waits in the spool
            self.client.set_tag(self.run_id, reconcile.HEARTBEAT, str(int(time.time())))
            if silent > reconcile.GRACE / 2:
                self.client.update_run(self.run_id, status="RUNNING")

    def _entries(self, noted: Noted) -> Iterator[Entry]:
        """What is to be told; if one part cannot be, the others still are."""
        points = self._guarded(entries.points, noted) or []
        yield from ({"points": points[start : start + CHUNK]} for start in range(0, len(points), CHUNK))
        for event, at in noted:
            if isinstance(event, Snapshot):
                yield from self._files(*(self._guarded(self._checkpoint, event) or []))
            elif isinstance(event, Kept):
                yield from self._files(entries.files(next(self._numbers), event.folder))
            elif isinstance(event, Finished):
                self._reason, self._tags = event.reason, event.tags
            elif isinstance(event, End):
                yield entries.end(event, at, self._reason, self._tags, self._error)

    def _guarded(self, make: Callable[..., Any], *args: Any) -> Any:
        try:
            return make(*args)
        except Exception as error:  # told to the caller by close(); training goes on
            self._error = self._error or error

    def _checkpoint(self, event: Snapshot) -> list[Entry]:
        before, most = self.checkpoints.setdefault(event.name, []), self.keep if event.name == "last" else 1
        return entries.checkpoint(next(self._numbers), event, before, most)

    def _files(self, *given: Entry) -> list[Entry]:
        self._outside += [entry for entry in given if "files" in entry]
        return list(given)
