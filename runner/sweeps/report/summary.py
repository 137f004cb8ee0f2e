"""The summary of a sweep on the screen: ranked jobs, failures, and the command that trains the best again."""

import shlex
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from runner.settings.trust import secrets, terminal
from runner.sweeps.report import files, repeats, words
from runner.sweeps.report.table import Row, Table

#: Most jobs on the screen, and most failures; the table in MLflow has all.
TOP, FAILURES = 20, 20
#: Ranked jobs from which on the last of them are shown too, and how many.
MANY, LAST = 100, 3


def summary(console: Console, table: Table, command: str = "", notes: Iterable[str] = ()) -> None:
    """Print the best jobs, failures, `notes`, and `command`, which trains the best again (see `again`).

    Of many jobs the worst are printed below the best, and what is left out is counted.
    """
    standing, failed = table.standing, [row for row in table.rows if row.status in ("FAILED", "KILLED")]
    if standing and table.folded:
        console.print(repeats.ranking(table))
    elif standing:
        console.print(ranking(table, console.width))
    if TOP < len(standing) <= MANY and not table.folded:
        console.print(Text(f"and {words.counted(len(standing) - TOP, 'job')} more", style="dim"))
    for row in failed[:FAILURES]:
        console.print(_failure(row))
    if len(failed) > FAILURES:
        more = f"and {words.counted(len(failed) - FAILURES, 'job')} more that failed or were killed"
        console.print(Text(f"{more}; {files.CSV} of the sweep has the reasons", style="dim"))
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    if command:
        # Not wrapped, so that it can be copied.
        console.print(Text(f"the best again: {terminal.shown(command)}"), soft_wrap=True)


def ranking(table: Table, width: int) -> Grid:
    """Return the best jobs and their overrides as a table, with a column for each varied key where that fits.

    Of many jobs, a line below the best counts those that are left out, and the worst follow.
    """
    standing = table.standing
    last = standing[-LAST:] if len(standing) > MANY else []
    rows = [*standing[:TOP], *last]
    columns = _columns(table, rows)
    if sum(_width(heading, values) for heading, values in columns.items()) > width - 45:
        columns = {"overrides": [words.named(row, words.short(table.keys)) for row in rows]}
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("rank", justify="right", no_wrap=True)
    grid.add_column("job", justify="right", no_wrap=True)
    for heading in columns:
        grid.add_column(Text(heading), overflow="fold")
    for heading in (table.metric, "epochs", "took"):
        grid.add_column(Text(heading), justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    best = table.best
    for place, row in enumerate(rows):
        rank = place + 1 if place < TOP else len(standing) - len(rows) + place + 1
        if last and place == TOP:
            left_out = Text(words.counted(len(standing) - len(rows), "job"))
            grid.add_row(Text("..."), Text(""), left_out, style="dim")
        varied = [Text(values[place]) for values in columns.values()]
        figures = [Text(words.figure(row.value)), Text(str(row.epoch)), Text(words.took(row.seconds))]
        style = "green" if row is best else ""
        grid.add_row(Text(str(rank)), Text(str(row.number)), *varied, *figures, Text(_mark(row)), style=style)
    return grid


def again(common: Iterable[str], row: Row) -> str:
    """Return the shell command that trains `row` alone. common: overrides that all jobs share."""
    return shlex.join(["runner", *common, *_overrides(row)])


def result(parent: str, status: str, best: Row | None) -> str:
    """Return the last line of a sweep: `sweep <id> <STATUS> best=<run id> <overrides>`, or best=none."""
    words = [f"best={best.run_id}", *_overrides(best)] if best else ["best=none"]
    return " ".join(["sweep", parent, status, *map(shlex.quote, words)])


def _overrides(row: Row) -> list[str]:
    return [f"{key}={value}" for key, value in row.overrides.items()]


def _columns(table: Table, rows: list[Row]) -> dict[str, list[str]]:
    names = words.short(table.keys)
    return {names[key]: [terminal.line(row.overrides.get(key, "")) for row in rows] for key in table.keys}


def _width(heading: str, values: list[str]) -> int:
    return max(map(len, [heading, *values])) + 1


def _mark(row: Row) -> str:
    if row.pruned is not None:
        return f"pruned after epoch {row.pruned}"
    return "" if row.status == "FINISHED" else row.status


def _failure(row: Row) -> Text:
    reason = terminal.line(secrets.masked(row.reason)) or "no reason was recorded"
    return Text.assemble(
        (row.status, "red"), f"  job {row.number}  {terminal.line(row.name)}  {reason}", overflow="fold"
    )
