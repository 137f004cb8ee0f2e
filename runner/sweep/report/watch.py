"""Watches a sweep go on: the screen and the parent's table are kept current from what the store knows."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from runner.sweep.report.table import Table

#: Seconds between two looks at the store, and how many times longer than a look the pause is at least.
PERIOD, SHARE = 1.0, 20
#: Seconds between two tables for the parent run while nothing ends.
KEEP = 30.0


class Screen(Protocol):
    """What a person sees of a sweep."""

    def show(self, table: Table) -> None: ...

    def close(self, table: Table) -> None: ...


class Board:
    """While this context is open, a thread looks at the jobs and shows how they stand."""

    def __init__(self, look: Callable[[], Table], screen: Screen, keep: Callable[[Table], None]) -> None:
        self._look, self._screen, self._keep = look, screen, keep
        self._over = threading.Event()
        self._ended: list[str] = []  # the states that were kept last
        self._kept = 0.0
        self._thread = threading.Thread(target=self._watch, name="board", daemon=True)

    def __enter__(self) -> "Board":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = PERIOD
        while not self._over.wait(pause):
            begun = time.monotonic()
            with contextlib.suppress(Exception):  # a store that does not answer: the next look is as good
                self._show(self._look())
            pause = max(PERIOD, SHARE * (time.monotonic() - begun))

    def _show(self, table: Table) -> None:
        self._screen.show(table)
        ended = [row.status for row in table.rows if row.status not in ("WAITING", "RUNNING")]
        if ended != self._ended or time.monotonic() - self._kept > KEEP:
            self._ended, self._kept = ended, time.monotonic()
            self._keep(table)
