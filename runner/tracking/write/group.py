"""One thread for the records of many runs: what it takes from them it writes and delivers for all of them at once."""

import contextlib
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from runner.settings.files import durable
from runner.settings.trust import secrets
from runner.tracking.store import reconcile
from runner.tracking.write import background, together
from runner.tracking.write.background import Background
from runner.tracking.write.bulk import Rows, insert_all
from runner.tracking.write.delivery import Delivery
from runner.tracking.write.entries import End, Events
from runner.tracking.write.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Runs that are delivered in one transaction, and runs that are delivered at once where each is by itself.
MOST, AT_ONCE = 256, 4
#: Runs for which points are delivered every background.PERIOD seconds, and of more, as much later.
FASTER = 128
#: Runs for which further events are waited for as long as for one, and of more, longer.
SOONER = 64


class Group:
    """The thread, and the backgrounds of the runs that it serves. It ends with the last of them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[_Member, Events]] = queue.SimpleQueue()
        self._members: list[_Member] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beaten = time.monotonic()
        self._waiting: dict[_Member, None] = {}  # whose spools are to be delivered, with more of them
        self._turn = 0.0  # when they are, unless a run ends before

    def background(self, client: "MlflowClient", spool: Spool, asks: bool, keep: int) -> Background:
        """Return the background of a run, which this thread serves."""
        return _Member(self, client, spool, asks, keep)

    def serve(self, member: "_Member") -> None:
        """Serve a run from now on."""
        with self._lock:
            self._members.append(member)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="tracking of many", daemon=True)
                thread.start()
                self._thread = thread

    def put(self, member: "_Member", events: Events) -> None:
        """Hand over events of a run. Returns at once."""
        self._queue.put((member, events))

    def _work(self) -> None:
        """Serve the runs until the last has ended: what the thread does."""
        try:
            while members := self._served():
                self._round(members)
        except BaseException as error:  # a mistake in this file: each run fails with it
            with self._lock:
                for member in self._members:
                    member.fail(error)
                self._thread = None
                self._members.clear()

    def _served(self) -> "list[_Member]":
        """Return the runs that have not ended; the thread ends where there are none."""
        with self._lock:
            self._members = [member for member in self._members if not member.is_over]
            if not self._members:
                self._thread = None
            return list(self._members)

    def _round(self, members: "list[_Member]") -> None:
        """Take what has come: first into the spools of all, then into the store."""
        arrived = self._next(members)
        members = list(dict.fromkeys([*members, *arrived]))  # some may have begun, and ended, since
        with secrets.steady():
            self._waiting |= {member: None for member, events in arrived.items() if member.write(events)}
        self._waiting |= {member: None for member in members if member.silent is not None and member.is_due()}
        called = [
            event for events in arrived.values() for event, _ in events if isinstance(event, End | threading.Event)
        ]
        if called or time.monotonic() >= self._turn:
            ready, self._waiting = list(self._waiting), {}
            self._deliver(ready)
            self._turn = time.monotonic() + background.PERIOD
        for event in called:
            if isinstance(event, threading.Event):
                event.set()
        for member in members:
            if member.has_ended:
                member.end_if_done()
        if time.monotonic() - self._beaten > reconcile.BEAT:
            self._beat([member for member in members if not member.is_over])

    def _next(self, members: "list[_Member]") -> "dict[_Member, Events]":
        """Return the next events by their runs, and what comes shortly after; none when something else is due."""
        arrived: dict[_Member, Events] = {}
        shortly = background.TOGETHER * max(1.0, len(members) / SOONER)
        until = min([self._beaten + reconcile.BEAT, *(member.due for member in members if member.silent is not None)])
        until = min(until, self._turn) if self._waiting else until
        with contextlib.suppress(queue.Empty):
            while True:
                first = not arrived
                member, events = self._queue.get(timeout=max(until - time.monotonic(), 0.01 if first else 0.0))
                arrived.setdefault(member, []).extend(events)
                until = time.monotonic() + shortly if first else until
                if self._queue.empty() and isinstance(events[-1][0], End | threading.Event):
                    break
        return arrived

    def _deliver(self, ready: "list[_Member]") -> None:
        """Deliver spools, as many as possible in one transaction, each of the others by itself."""
        for start in range(0, len(ready), MOST):
            part = ready[start : start + MOST]
            stored = set(together.deliver([member.delivery for member in part])) if len(part) > 1 else set()
            others = [member for member in part if not member.note(stored)]
            if len(others) > 1:
                with ThreadPoolExecutor(AT_ONCE, "delivery") as pool:
                    list(pool.map(_Member.deliver, others))
            else:
                for member in others:
                    member.deliver()

    def _beat(self, members: "list[_Member]") -> None:
        """Write heartbeats: in one transaction, or where the store takes none, each by itself."""
        silent, self._beaten = time.monotonic() - self._beaten, time.monotonic()
        tags = {reconcile.HEARTBEAT: str(int(time.time()))}
        rows, written = [Rows(member.run_id, tags=tags) for member in members], False
        if members and silent < reconcile.GRACE / 2:
            with contextlib.suppress(Exception):  # of the store: the next one is as good
                written = insert_all(members[0].client, rows)
        for member in members:
            member.beat(written)


class _Member(Background):
    """The background of a run that a group serves.

    Its files wait a second at most where they were written, from where they go straight into the store.
    """

    moves_in = False

    def __init__(self, group: Group, client: "MlflowClient", spool: Spool, asks: bool, keep: int) -> None:
        super().__init__(client, spool, asks, keep)
        self._group = group
        self._is_served = False
        self._ended: float | None = None  # when its last event was written

    @property
    def has_ended(self) -> bool:
        """True if the run has had its last event."""
        return self._ended is not None

    def put(self, events: Events) -> None:
        """Hand over events. Returns at once."""
        self._group.put(self, events)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._spool.run_id

    @property
    def is_over(self) -> bool:
        """True when the thread has nothing left to do for the run."""
        return self._over.is_set()

    @property
    def due(self) -> float:
        """When the run wants to be served, without events: where its store did not answer, or it waits for its end."""
        return min(self._due, self._ends_at()) if self.silent is not None else float("inf")

    def is_due(self) -> bool:
        """Return whether the store is to be asked again now."""
        return self.silent is not None and time.monotonic() >= self._due

    def write(self, events: Events) -> bool:
        """Write events into the spool. Returns whether it is to be delivered now."""
        is_due = bool(self._guarded(self._write, events))
        if isinstance(events[-1][0], End):
            self._ended = time.monotonic()
        return is_due

    def deliver(self) -> None:
        """Deliver the spool, by itself."""
        self._guarded(partial(self._deliver, again=self._ended is not None and self._spool.refuses))

    def note(self, stored: set[Delivery]) -> bool:
        """Note that the run's spool was delivered with others. Returns whether it was."""
        if self.delivery in stored:
            self._turn = time.monotonic() + background.PERIOD * background.crowd() / FASTER
            self._guarded(self._delivered)
            return True
        return False

    def end_if_done(self) -> None:
        """End a run that has had its last event, unless its store is asked again for a moment."""
        now = time.monotonic()
        if self._ended is None or self.is_over:
            return
        if self.silent is None or now >= self._ends_at():
            self._over.set()
        self._due = min(self._due, now + durable.AGAIN)

    def beat(self, is_written: bool) -> None:
        """Write the heartbeat, if that was not done, and see that no other machine has set the run to KILLED."""
        if not is_written or time.monotonic() - self._checked > reconcile.RECHECK:
            self._beat()

    def fail(self, error: BaseException) -> None:
        """End the run with an error of the thread."""
        self._guarded(partial(_raise, error))
        self._guarded(self._take_in)
        self._over.set()

    def _start(self) -> None:
        if self._is_served:
            return
        self._is_served = True
        try:
            self._group.serve(self)
        except BaseException:
            self._over.set()
            raise

    def _ends_at(self) -> float:
        """Return when a store that does not answer is asked no longer."""
        return float("inf") if self._ended is None else self._ended + self._closing + self._patience()


def _raise(error: BaseException) -> None:
    raise error
