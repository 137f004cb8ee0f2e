"""The screen of a sweep while it runs: a live table on a terminal, lines elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from runner.settings.trust import secrets, terminal
from runner.sweeps.report import plain, words
from runner.sweeps.report.progress import Progress, done, left
from runner.sweeps.report.table import STATES, Row, Table

STYLES = {"WAITING": "dim", "RUNNING": "bold", "FINISHED": "green", "FAILED": "red", "KILLED": "red"}
#: Jobs of a sweep up to which each has a line in a file; of more, those that fail, and of these the first so many.
MANY, FAILURES = 200, 20
#: Lines of the live table without a job: the heading, the summary of further jobs, the bar, the line of the cursor.
AROUND = 4


def watching(console: Console, total: int) -> "LiveTable | Lines | Events":
    """Return a live table on a terminal, lines elsewhere, events on a quiet console.

    Each has show(table) and close(table). total: count of job numbers.
    """
    if console.quiet:
        return Events()
    return LiveTable(console) if console.is_terminal else Lines(console, total)


class Lines:
    """A line for each job that ends, and regular lines with the progress of the sweep: for files and pipes.

    Of many jobs only those that fail have a line.
    """

    #: Seconds between two lines of progress.
    PERIOD = 10.0

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.total = console, total
        self._clock, self._progress = clock, Progress(clock)
        self._printed: set[int] = set()
        self._failures = 0
        self._said, self._last = clock(), ""

    def show(self, table: Table) -> None:
        """Print a line for each job that has ended since the last call, and the progress if it is due."""
        for row in table.rows:
            if row.ended and row.number not in self._printed:
                self._printed.add(row.number)
                self._failures += row.status != "FINISHED"
                if self.total <= MANY or (row.status != "FINISHED" and self._failures <= FAILURES):
                    self._say(ended(row, self.total, table.metric))
        line = so_far(table, self._progress.left(table))
        if self._clock() - self._said >= self.PERIOD and line != self._last:
            self._last = line
            self._say(line)

    def close(self, table: Table) -> None:
        """Print the jobs that have ended since the last call; the summary follows, so that no progress is printed."""
        self._said = self._clock()
        self.show(table)

    def _say(self, line: str) -> None:
        self._said = self._clock()
        self.console.file.write(f"{terminal.shown(line)}\n")
        self.console.file.flush()


class Events:
    """No screen, but a line of JSON for each job that ends where a program reads along."""

    def __init__(self) -> None:
        self._printed: set[int] = set()

    def show(self, table: Table) -> None:
        """Print the jobs that have ended since the last call."""
        for row in table.rows:
            if row.ended and row.number not in self._printed:
                self._printed.add(row.number)
                terminal.event("job", **plain.of_job(row))

    def close(self, table: Table) -> None:
        """Print the jobs that have ended since the last call."""
        self.show(table)


class LiveTable:
    """A table of the jobs that fits the terminal, with one bar for all of them."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self._progress = console, Progress(clock)
        self._ended: dict[int, None] = {}  # job numbers in the order in which they ended
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, table: Table) -> None:
        """Redraw the table."""
        self._ended.update({row.number: None for row in table.rows if row.ended})
        self._live.update(self.picture(table), refresh=True)

    def close(self, table: Table) -> None:
        """Draw the last table and leave it on the terminal."""
        self.show(table)
        self._live.stop()

    def picture(self, table: Table) -> Group:
        """Return the table as rich renders it, with as many jobs as fit the terminal."""
        room = max(1, self.console.height - AROUND)
        rows = chosen(table, list(self._ended), room)
        shown = {row.number for row in rows}
        rest = [row for row in table.rows if row.number not in shown]
        further = [Text(f"and {states(rest)}", style="dim")] if rest else []
        return Group(jobs(table, rows, self.console.width), *further, overall(table, self._progress.left(table)))


def chosen(table: Table, order: list[int], room: int) -> list[Row]:
    """Return the rows to show: all if they fit, otherwise running jobs, those that ended last, and the next ones.

    Of more running jobs than fit, the best so far; of more ended ones than fit when all have ended, the best too.
    order: numbers of ended jobs in the order in which they ended. room: lines.
    """
    if len(table.rows) <= room:
        return table.rows
    newest = {number: place for place, number in enumerate(order)}
    past = sorted((row for row in table.rows if row.ended), key=lambda row: -newest.get(row.number, -1))
    running, waiting = table.having("RUNNING"), table.having("WAITING")
    if len(running) > room or not running + waiting:
        ranks = {row.number: rank for rank, row in enumerate(table.ranked)}
        running, past = (sorted(rows, key=lambda row: ranks.get(row.number, len(ranks))) for rows in (running, past))
    return [*running, *past, *waiting][:room]


def jobs(table: Table, rows: list[Row], width: int) -> Grid:
    """Job, overrides, state, epoch, metric and time left."""
    grid = Grid(box=None, pad_edge=False, header_style="bold", expand=True)
    grid.add_column("job", justify="right", no_wrap=True)
    grid.add_column("overrides", no_wrap=True, overflow="ellipsis", ratio=1)
    for heading, side in (("state", "left"), ("epoch", "right"), (table.metric, "right"), ("left", "right")):
        grid.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
    full = all(len(row.name) <= width - 60 for row in rows)
    names = {} if full else words.short(table.keys)
    best = table.best
    for row in rows:
        grid.add_row(*_cells(row, names, row is best))
    return grid


def overall(table: Table, seconds: float | None) -> Grid:
    """Return a line with one bar for all jobs, their count, the best value and the time left."""
    grid = Grid.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1)
    for _ in range(3):
        grid.add_column(no_wrap=True)
    ended = sum(row.ended for row in table.rows)
    best = f"best {words.figure(table.best.value)} (job {table.best.number})" if table.best else ""
    time_left = f"{words.took(seconds)} left" if seconds is not None and ended < len(table.rows) else ""
    bar = ProgressBar(total=max(1, len(table.rows)), completed=done(table))
    grid.add_row(bar, Text(f"{ended:,}/{len(table.rows):,} jobs"), Text(best, style="green"), Text(time_left))
    return grid


def states(rows: list[Row]) -> str:
    """Return the jobs counted by status, as in `4 FINISHED, 2 WAITING`."""
    counts = {status: sum(row.status == status for row in rows) for status in STATES}
    return ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)


def ended(row: Row, total: int, metric: str) -> str:
    """Return the line of a job that has ended, as in `job 3/8  lr=0.1  FINISHED ...`; jobs count from 0."""
    parts = [f"job {row.number}/{total}", terminal.line(row.name), row.status]
    parts += [f"{metric}={words.figure(row.value)}"] if row.value is not None else []
    parts += [words.counted(row.epoch, "epoch")] if row.epoch else []
    parts += [f"pruned after epoch {row.pruned}"] if row.pruned is not None else []
    parts += [words.took(row.seconds)] if row.seconds is not None else []
    return "  ".join(part for part in [*parts, terminal.line(secrets.masked(row.reason))] if part)


def so_far(table: Table, seconds: float | None) -> str:
    """Return the progress of the sweep in a line."""
    running = [f"job {row.number} at epoch {_epoch(row)}" for row in table.having("RUNNING")]
    further = [f"{len(running) - 4} more jobs"] if len(running) > 4 else []
    parts = [states(table.rows), *running[:4], *further]
    parts += [f"best {table.metric}={words.figure(table.best.value)} (job {table.best.number})"] if table.best else []
    parts += [f"{words.took(seconds)} left"] if seconds is not None else []
    return "  ".join(parts)


def _epoch(row: Row) -> str:
    """Return a job's epoch, of how many where these are counted."""
    return f"{row.epoch}/{row.epochs}" if row.epochs else str(row.epoch)


def _cells(row: Row, names: dict[str, str], best: bool) -> list[Text]:
    """Return the cells as Text: rich would take [16,32] in a string for its markup."""
    state, style = ("PRUNED", "yellow") if row.pruned is not None else (row.status, STYLES[row.status])
    epoch = _epoch(row) if row.epoch + row.epochs and row.status != "WAITING" else ""
    row_style = "green" if best else "dim" if row.status == "WAITING" else ""
    return [
        Text(str(row.number), style=row_style),
        Text(words.named(row, names), style=row_style),
        Text(state, style=style),
        Text(epoch, style=row_style),
        Text(words.figure(row.value), style=row_style),
        Text(words.took(left(row)), style=row_style),
    ]
