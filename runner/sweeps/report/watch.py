"""The thread that keeps the screen and the parent run's table current while a sweep runs."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from runner.sweeps.report.table import Table

#: Least seconds between two queries of the store, and how many times longer than a query the pause is at least.
PERIOD, SHARE = 1.0, 20
#: Seconds between two tables for the parent run while no job ends.
KEEP = 30.0


class Screen(Protocol):
    """The display of a running sweep."""

    def show(self, table: Table) -> None:
        """Show the current table."""

    def close(self, table: Table) -> None:
        """Show the last table and stop."""


class Board:
    """A context in which a thread reads the table again and again, shows it and keeps it in the parent run."""

    def __init__(self, read: Callable[[], Table], screen: Screen, keep: Callable[[Table], None]) -> None:
        self._read, self._screen, self._keep = read, screen, keep
        self._over = threading.Event()
        self._ended: list[str] = []  # statuses of ended jobs in the table kept last
        self._kept_at = 0.0
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
            with contextlib.suppress(Exception):  # a store that does not answer is asked again
                self._show(self._read())
            pause = max(PERIOD, SHARE * (time.monotonic() - begun))

    def _show(self, table: Table) -> None:
        self._screen.show(table)
        ended = [row.status for row in table.rows if row.status not in ("WAITING", "RUNNING")]
        if ended != self._ended or time.monotonic() - self._kept_at > KEEP:
            self._ended, self._kept_at = ended, time.monotonic()
            self._keep(table)
