"""Combinations of a sweep over seeds or folds as files and on the screen: means and spreads of their jobs' values."""

import csv as _csv
import io
import math
import shlex
import statistics

from rich.table import Table as Grid
from rich.text import Text

from runner.settings.trust import terminal
from runner.sweeps.report import words
from runner.sweeps.report.table import Combination, Table, spread

#: Folds whose values are on the screen one by one.
SHOWN = 10


def name(table: Table) -> str:
    """Return the name of the parent run's artifact with a line for each combination."""
    return "folds.csv" if table.folded else "seeds.csv"


def figures(table: Table) -> dict[str, float]:
    """Return the mean and spread of every metric of the best combination, as `valid/loss.mean` and `.spread`."""
    one = table.best_combination
    if one is None:
        return {}
    by_name = {**{name: one.of(name) for name in sorted(one.rows[0].metrics)}, table.metric: _values(one)}
    numbers: dict[str, float] = {}
    for name, values in by_name.items():
        if len(values) == len(one.values):
            numbers |= {f"{name}.mean": statistics.fmean(values), f"{name}.spread": spread(values)}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def csv(table: Table) -> str:
    """Return a line for each combination, the best first: its overrides, its number of jobs, means and spreads."""
    keys = [key for key in table.keys if key not in table.over]
    others = sorted({name for row in table.rows for name in row.metrics} - {table.metric})
    text = io.StringIO()
    writer = _csv.writer(text, lineterminator="\n")
    heads = [f"{name}.{what}" for name in (table.metric, *others) for what in ("mean", "spread")]
    writer.writerow(["rank", *keys, "folds" if table.folded else "seeds", "finished", *heads, "jobs"])
    for rank, one in enumerate(table.combinations, 1):
        cells = [_values(one), *(one.of(name) for name in others)]
        numbers = [
            number for values in cells for number in (statistics.fmean(values) if values else "", spread(values))
        ]
        jobs = " ".join(str(row.number) for row in one.rows)
        start = ["" if one.left_out else rank, *(one.overrides.get(key, "") for key in keys)]
        writer.writerow([*start, len(one.rows), len(one.values), *numbers, jobs])
    return text.getvalue()


def ranking(table: Table) -> Grid:
    """Return the combinations of a sweep over folds as a table for the screen: mean, spread, the value of each fold."""
    keys = [key for key in table.keys if key not in table.over]
    names = words.short(keys)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("rank", justify="right", no_wrap=True)
    for key in keys:
        grid.add_column(Text(names[key]), overflow="fold")
    for heading in (f"{table.metric}: mean", "spread", "folds"):
        grid.add_column(Text(heading), justify="right" if heading != "folds" else "left", no_wrap=heading != "folds")
    for rank, one in enumerate(table.combinations[:20], 1):
        shown = " ".join(words.figure(row.value) or row.status for row in one.rows[:SHOWN])
        more = f" and {len(one.rows) - SHOWN} more" if len(one.rows) > SHOWN else ""
        mean = f"{len(one.values)} of {len(one.rows)} folds" if one.left_out else words.figure(one.mean)
        cells = [terminal.line(one.overrides.get(key, "")) for key in keys]
        spreads = "" if one.left_out else words.figure(one.spread)
        grid.add_row(*map(Text, ["" if one.left_out else str(rank), *cells, mean, spreads, shown + more]))
    return grid


def result(parent: str, status: str, table: Table) -> str:
    """Return the last line of a sweep over folds: `sweep <id> <STATUS> folds=5 mean=0.5 spread=0.1 <overrides>`."""
    one = table.best_combination
    if one is None:
        return f"sweep {parent} {status} folds=none"
    numbers = [f"folds={len(one.rows)}", f"mean={one.mean!r}", f"spread={one.spread!r}"]
    overrides = [shlex.quote(f"{key}={value}") for key, value in one.overrides.items()]
    return " ".join(["sweep", parent, status, *numbers, *overrides])


def _values(one: Combination) -> list[float]:
    return list(one.values.values())
