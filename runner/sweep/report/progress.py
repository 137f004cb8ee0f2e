"""How far a sweep is, and how long it will take."""

import time
from collections.abc import Callable

from runner.sweep.report.table import Row, Table


class Progress:
    """Time left by what was done since it began to watch: jobs that had ended before say nothing about speed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun, self._before = clock(), -1.0

    def left(self, table: Table) -> float | None:
        """Seconds until all jobs have ended, as many at a time as now; None when nothing tells yet."""
        share = done(table)
        if self._before < 0:
            self._begun, self._before = self._clock(), share
        gained, seconds = share - self._before, self._clock() - self._begun
        return seconds * (len(table.rows) - share) / gained if gained > 0 else None


def done(table: Table) -> float:
    """Jobs done; one that is at half its epochs is half a job."""
    return sum(row.share for row in table.rows)


def left(row: Row) -> float | None:
    """Seconds that a running job will take; None when nothing tells yet."""
    if row.status != "RUNNING" or not row.seconds or not row.share:
        return None
    return row.seconds * (1 - row.share) / row.share
