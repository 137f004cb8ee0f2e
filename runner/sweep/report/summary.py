"""The summary of a sweep on the screen: ranked jobs, failures, and the command that trains the best again."""

import shlex
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from runner.settings.trust import secrets, terminal
from runner.sweep.report import words
from runner.sweep.report.table import Row, Table

#: Most jobs on the screen; the table in MLflow has all.
TOP = 20


def summary(console: Console, table: Table, command: str = "") -> None:
    """Print the best jobs, each failure with its reason, and `command`, which trains the best again (see `again`)."""
    if table.standing:
        console.print(ranking(table, console.width))
    if len(table.standing) > TOP:
        console.print(Text(f"and {words.counted(len(table.standing) - TOP, 'job')} more", style="dim"))
    for row in table.rows:
        if row.status in ("FAILED", "KILLED"):
            console.print(_failure(row))
    if command:
        # Not wrapped, so that it can be copied.
        console.print(Text(f"the best again: {terminal.shown(command)}"), soft_wrap=True)


def ranking(table: Table, width: int) -> Grid:
    """Return the best jobs and their overrides as a table, with a column for each varied key where that fits."""
    rows = table.standing[:TOP]
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
    for place, row in enumerate(rows):
        varied = [Text(values[place]) for values in columns.values()]
        figures = [Text(words.figure(row.value)), Text(str(row.epoch)), Text(words.took(row.seconds))]
        style = "green" if row is table.best else ""
        grid.add_row(Text(str(place + 1)), Text(str(row.number)), *varied, *figures, Text(_mark(row)), style=style)
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
