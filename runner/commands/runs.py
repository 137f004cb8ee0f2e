"""The command `runs`: a table of recorded runs."""

import time
from typing import TYPE_CHECKING, Any

from runner.commands import _words
from runner.commands._result import Result
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from runner.tracking.read.query import Column
    from runner.tracking.store.stores import Row

#: Columns between two columns of the table.
GAP = 2
#: Characters to which names are cut before any column is dropped.
SHORTEST = 8
#: Runs that are read to sort them by what a store cannot sort by.
ALL = 50_000


def with_words(
    uri: str, filter: str = "", *, sort: str = "", columns: str = "", experiment: str = "", most: str = "50"
) -> Result:
    """Print the runs of the tracking store, the newest first.

    On a terminal without room names are cut first, then times are left out; ids, statuses and results never are.
    filter: conditions in MLflow's grammar, joined by `and`, as in "valid/loss < 0.1 and params.seed = '3'".
    sort: what they are sorted by, as in sort=valid/loss or sort="optimizer.lr desc"; without it, the newest first.
    columns: what is shown, as in columns=[name,valid/loss,optimizer.lr,tags.host]; without it, the usual table.
    experiment: the name of the only experiment that is listed.
    most: how many runs are listed at most.
    """
    from runner.tracking.read import plain, query
    from runner.tracking.store import stores

    order, chosen = query.order(sort), query.columns(columns) if columns else []
    number = _words.whole("most", most)
    in_store = order.in_store if order else stores.NEWEST
    rows = stores.rows(
        uri,
        experiment or None,
        min(number, ALL) if in_store else ALL,
        query.condition(filter),
        in_store or stores.NEWEST,
    )
    if order:
        query.check("sort", [order.by] if rows else [], rows)
        rows = rows if in_store else order.sorted(rows)
    rows = rows[:number]
    query.check("columns", chosen if rows else [], rows)
    return Result({"runs": [plain.run(row) for row in rows]}, lambda: _print(uri, rows, chosen, bool(filter)))


def _print(uri: str, rows: "list[Row]", chosen: "list[Column]", filtered: bool) -> None:
    from runner.settings.trust import secrets
    from runner.tracking import screen

    console = screen.console()
    if not rows:
        terminal.put(f"no runs{' of this kind' * filtered} in {secrets.masked_uri(uri)}")
        return
    if not console.is_terminal:
        console.width = 100_000  # for another program nothing is cut
    grid = with_columns(rows, chosen, console.width) if chosen else table(rows, console.width)
    console.width = max(console.width, sum(column.width or 0 for column in grid.columns) + GAP * len(grid.columns))
    console.print(grid)


def with_columns(rows: "list[Row]", chosen: "list[Column]", width: int) -> "Table":
    """Return the runs as a table of ids and the chosen columns. Texts are cut to `width`, ids and numbers never are."""
    from rich.table import Table
    from rich.text import Text

    named = [column for column in chosen if (column.kind, column.name) != ("attributes", "run")]
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    shown = [{"run": terminal.line(row.run_id)[:8]} | {c.written: _cell(c, row) for c in named} for row in rows]
    columns = {"run": "run", **{column.written: terminal.line(column.name) for column in named}}
    numbers = {c.written for c in named if all(isinstance(c.of(row), float | None) for row in rows)}
    sizes = {key: max(len(heading), *(len(cells[key]) for cells in shown)) for key, heading in columns.items()}
    texts = [key for key in columns if key != "run" and key not in numbers]
    while _whole(sizes) > width and texts and (longest := max(map(sizes.__getitem__, texts))) > SHORTEST:
        sizes |= {key: longest - 1 for key in texts if sizes[key] == longest}
    for key, heading in columns.items():
        side: Any = "right" if key in numbers else "left"
        grid.add_column(Text(heading), justify=side, no_wrap=True, overflow="ellipsis", width=sizes[key])
    for cells in shown:
        grid.add_row(*(Text(cells[key]) for key in columns))
    return grid


def _cell(column: "Column", row: "Row") -> str:
    from runner.settings.trust import secrets

    cells = _cells(row)
    if column.kind == "attributes" and column.name in cells:
        return cells[column.name]
    value = column.of(row)
    if value is None:
        return ""
    if column.kind == "attributes":
        return at(value)
    return f"{value:.6g}" if isinstance(value, float) else terminal.line(secrets.without(str(value), column.name))


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
        "started": "" if row.started is None else at(row.started),
        "took": "" if row.seconds is None else f"{row.seconds:.1f} s",
        "results": screen.figures(last),
    }


def at(seconds: float) -> str:
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
