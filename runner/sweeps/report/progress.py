"""The progress of a sweep: jobs done, and the time left."""

import time
from collections.abc import Callable

from runner.sweeps.report.table import Row, Table


class Progress:
    """An estimate of the time left, from the jobs done since the first table; jobs that ended before do not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun, self._before = clock(), -1.0

    def left(self, table: Table) -> float | None:
        """Return the seconds until all jobs have ended if as many run at once as now; None before there is progress."""
        share = done(table)
        if self._before < 0:
            self._begun, self._before = self._clock(), share
        gained, seconds = share - self._before, self._clock() - self._begun
        return seconds * (len(table.rows) - share) / gained if gained > 0 else None


def done(table: Table) -> float:
    """Return the jobs done; a job at half its epochs counts as half."""
    return sum(row.share for row in table.rows)


def left(row: Row) -> float | None:
    """Return the seconds that a running job has left; None before there is progress."""
    if row.status != "RUNNING" or not row.seconds or not row.share:
        return None
    return row.seconds * (1 - row.share) / row.share
