"""The command `runs`: a table of recorded runs."""

import time
from typing import TYPE_CHECKING

from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from runner.tracking.store.stores import Row

#: Columns between two columns of the table.
GAP = 2
#: Characters to which names are cut before any column is dropped.
SHORTEST = 8


def with_settings(settings: Settings, context: Context) -> int:
    """Print the newest runs of the tracking store; `tracking.experiment=NAME` shows those of one experiment.

    On a terminal without room names are cut first, then times are left out; ids, statuses and results never are.
    """
    from runner.settings.trust import secrets
    from runner.tracking import screen
    from runner.tracking.store import stores

    rows = stores.rows(settings.tracking.uri, settings.tracking.experiment)
    console = screen.console()
    if not rows:
        terminal.put(f"no runs in {secrets.masked_uri(settings.tracking.uri)}")
        return 0
    if not console.is_terminal:
        console.width = 100_000  # for another program nothing is cut
    console.print(table(rows, console.width))
    return 0


def table(rows: "list[Row]", width: int) -> "Table":
    """Return the runs as a table of at most `width` characters a line."""
    from rich.table import Table
    from rich.text import Text

    cells = [_cells(row) for row in rows]
    widths = _fitted({name: max(len(name), *(len(cell[name]) for cell in cells)) for name in cells[0]}, cells, width)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, size in widths.items():
        whole = name == "results"  # wraps into further lines
        grid.add_column(name, width=size, no_wrap=not whole, overflow="fold" if whole else "ellipsis")
    for cell in cells:
        grid.add_row(*(Text(cell[name]) for name in widths))
    return grid


def _cells(row: "Row") -> dict[str, str]:
    from runner.settings.trust import secrets
    from runner.tracking import screen

    last = {k: v for k, v in sorted(row.metrics.items()) if k.partition("/")[0] not in ("lr", "epoch")}
    return {
        "run": terminal.line(row.run_id)[:8],
        "name": terminal.line(secrets.masked(row.name)),
        "experiment": terminal.line(secrets.masked(row.experiment)),
        "status": row.status,
        "started": "" if row.started is None else _at(row.started),
        "took": "" if row.seconds is None else f"{row.seconds:.1f} s",
        "results": screen.figures(last),
    }


def _at(seconds: float) -> str:
    """Return the local time; "" for a number of seconds that is no time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return ""


def _fitted(widths: dict[str, int], cells: list[dict[str, str]], room: int) -> dict[str, int]:
    """Return column -> width; columns are left out where there is no room even with the shortest names."""
    figures = [figure for cell in cells for figure in cell["results"].split("  ")]
    whole = max(len("results"), *map(len, figures))  # a result is not wrapped if there is room
    times, narrow = ("took", "started"), len("results")
    for left_out, least in (
        ((), whole),
        (times[:1], whole),
        (times, whole),
        (times, narrow),
        ((*times, "experiment"), narrow),
        ((*times, "experiment", "name"), narrow),
    ):
        columns = {name: size for name, size in widths.items() if name not in left_out}
        short: dict[str, int] = {
            name: min(columns[name], SHORTEST) for name in ("name", "experiment") if name in columns
        }
        if _whole({**columns, **short, "results": least}) <= room:
            break
    results = min(columns["results"], max(least, room // 3))
    columns["results"] = min(results, max(least, room - _whole({**columns, **short, "results": 0})))
    for name in short:
        columns[name] = max(short[name], columns[name] - max(0, _whole(columns) - room))
    columns["results"] = min(widths["results"], columns["results"] + max(0, room - _whole(columns)))
    return columns


def _whole(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)
