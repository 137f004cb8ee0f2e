"""A table of runs."""

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
#: What a name is cut down to before anything else is.
SHORTEST = 8


def with_settings(settings: Settings, context: Context) -> int:
    """Print the newest runs of the tracking store; `tracking.experiment=NAME` shows those of one experiment.

    On a terminal names are cut where there is no room, then times are left out; ids, states and results never are.
    """
    from runner.settings.trust import secrets
    from runner.tracking import screen
    from runner.tracking.store import stores

    found = stores.rows(settings.tracking.uri, settings.tracking.experiment)
    console = screen.console()
    if not found:
        terminal.put(f"no runs in {secrets.masked_uri(settings.tracking.uri)}")
        return 0
    if not console.is_terminal:
        console.width = 100_000  # what another program reads is never cut
    console.print(table(found, console.width))
    return 0


def table(rows: "list[Row]", width: int) -> "Table":
    """The runs in `width` columns."""
    from rich.table import Table
    from rich.text import Text

    cells = [_cells(row) for row in rows]
    widths = _fitted({name: max(len(name), *(len(cell[name]) for cell in cells)) for name in cells[0]}, cells, width)
    found = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, size in widths.items():
        whole = name == "results"  # goes on in the next line
        found.add_column(name, width=size, no_wrap=not whole, overflow="fold" if whole else "ellipsis")
    for cell in cells:
        found.add_row(*(Text(cell[name]) for name in widths))
    return found


def _cells(row: "Row") -> dict[str, str]:
    from runner.settings.trust import secrets
    from runner.tracking import screen

    last = {k: v for k, v in sorted(row.metrics.items()) if k not in ("lr", "epoch")}
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
    """The local time; nothing for a time that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return ""


def _fitted(widths: dict[str, int], cells: list[dict[str, str]], room: int) -> dict[str, int]:
    """The columns with the widths that they get; times are left out where names at their shortest are not enough."""
    figures = [figure for cell in cells for figure in cell["results"].split("  ")]
    whole = max(len("results"), *map(len, figures))  # a figure is not broken if that can be had
    times, narrow = ("took", "started"), len("results")
    for left_out, least in (
        ((), whole),
        (times[:1], whole),
        (times, whole),
        (times, narrow),
        ((*times, "experiment"), narrow),
        ((*times, "experiment", "name"), narrow),
    ):
        kept = {name: size for name, size in widths.items() if name not in left_out}
        short: dict[str, int] = {name: min(kept[name], SHORTEST) for name in ("name", "experiment") if name in kept}
        if _whole({**kept, **short, "results": least}) <= room:
            break
    results = min(kept["results"], max(least, room // 3))
    kept["results"] = min(results, max(least, room - _whole({**kept, **short, "results": 0})))
    for name in short:
        kept[name] = max(short[name], kept[name] - max(0, _whole(kept) - room))
    kept["results"] = min(widths["results"], kept["results"] + max(0, room - _whole(kept)))
    return kept


def _whole(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)
