"""A sweep over `data.fold`: the jobs that differ in their fold alone, with the means and spreads of their values."""

import csv as _csv
import io
import math
import shlex
import statistics
from dataclasses import dataclass

from rich.table import Table as Grid
from rich.text import Text

from runner.settings.trust import terminal
from runner.sweep.report import words
from runner.sweep.report.table import FOLD, Row, Table

#: The parent run's artifact with a line for each combination.
CSV = "folds.csv"
#: Folds whose values are on the screen one by one.
SHOWN = 10


@dataclass
class Combination:
    """Jobs that differ in their fold alone."""

    overrides: dict[str, str]  # without the fold
    rows: list[Row]  # in the order of their folds

    @property
    def whole(self) -> bool:
        """True if every fold has FINISHED, and none was pruned, with a value: only such means can be compared."""
        return all(row.status == "FINISHED" and row.pruned is None and _is_number(row.value) for row in self.rows)

    @property
    def values(self) -> list[float]:
        """The ranked metric of the folds that have it."""
        return [row.value for row in self.rows if row.status == "FINISHED" and _is_number(row.value)]  # type: ignore[misc]

    def of(self, metric: str) -> list[float]:
        """Return the values of another metric, of the folds that have it."""
        return [row.metrics[metric] for row in self.rows if _is_number(row.metrics.get(metric))]


def combinations(table: Table) -> list[Combination]:
    """Return the combinations of a sweep over folds: whole ones by their means, the best first, then all others."""
    groups: dict[str, Combination] = {}
    for row in table.rows:
        rest = {key: value for key, value in row.overrides.items() if key != FOLD}
        groups.setdefault(repr(sorted(rest.items())), Combination(rest, [])).rows.append(row)
    for one in groups.values():
        one.rows.sort(key=lambda row: (_number(row), row.number))
    sign = 1 if table.mode == "min" else -1
    whole = [one for one in groups.values() if one.whole]
    ranked = sorted(whole, key=lambda one: (sign * statistics.fmean(one.values), one.rows[0].number))
    return [*ranked, *(one for one in groups.values() if not one.whole)]


def best(table: Table) -> Combination | None:
    """Return the combination with the best mean; None where there is none whole, and for a sweep without folds."""
    return next((one for one in combinations(table) if one.whole), None) if table.folded else None


def spread(values: list[float]) -> float:
    """Return the standard deviation between folds, divided by their number less one; nan for fewer than two."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def figures(table: Table) -> dict[str, float]:
    """Return the mean and spread of every metric of the best combination, as `valid/loss.mean` and `.spread`."""
    one = best(table)
    if one is None:
        return {}
    by_name = {**{name: one.of(name) for name in sorted(one.rows[0].metrics)}, table.metric: one.values}
    numbers: dict[str, float] = {}
    for name, values in by_name.items():
        if len(values) == len(one.rows):
            numbers |= {f"{name}.mean": statistics.fmean(values), f"{name}.spread": spread(values)}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def csv(table: Table) -> str:
    """Return a line for each combination, the best first: its overrides, how many folds it has, means and spreads."""
    every = combinations(table)
    keys = [key for key in table.keys if key != FOLD]
    others = sorted({name for row in table.rows for name in row.metrics} - {table.metric})
    text = io.StringIO()
    writer = _csv.writer(text, lineterminator="\n")
    heads = [f"{name}.{what}" for name in (table.metric, *others) for what in ("mean", "spread")]
    writer.writerow(["rank", *keys, "folds", "finished", *heads, "jobs"])
    for rank, one in enumerate(every, 1):
        cells = [one.values, *(one.of(name) for name in others)]
        numbers = [
            number for values in cells for number in (statistics.fmean(values) if values else "", spread(values))
        ]
        jobs = " ".join(str(row.number) for row in one.rows)
        start = [rank if one.whole else "", *(one.overrides.get(key, "") for key in keys)]
        writer.writerow([*start, len(one.rows), len(one.values), *numbers, jobs])
    return text.getvalue()


def ranking(table: Table) -> Grid:
    """Return the combinations as a table for the screen: mean, spread and the value of every fold."""
    every = combinations(table)
    keys = [key for key in table.keys if key != FOLD]
    names = words.short(keys)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("rank", justify="right", no_wrap=True)
    for key in keys:
        grid.add_column(Text(names[key]), overflow="fold")
    for heading in (f"{table.metric}: mean", "spread", "folds"):
        grid.add_column(Text(heading), justify="right" if heading != "folds" else "left", no_wrap=heading != "folds")
    for rank, one in enumerate(every[:20], 1):
        values = one.values
        shown = " ".join(words.figure(row.value) or row.status for row in one.rows[:SHOWN])
        more = f" and {len(one.rows) - SHOWN} more" if len(one.rows) > SHOWN else ""
        mean = words.figure(statistics.fmean(values)) if one.whole else f"{len(values)} of {len(one.rows)} folds"
        cells = [terminal.line(one.overrides.get(key, "")) for key in keys]
        spreads = words.figure(spread(values)) if one.whole else ""
        grid.add_row(*map(Text, [str(rank) if one.whole else "", *cells, mean, spreads, shown + more]))
    return grid


def result(parent: str, status: str, table: Table) -> str:
    """Return the last line of a sweep over folds: `sweep <id> <STATUS> folds=5 mean=0.5 spread=0.1 <overrides>`."""
    one = best(table)
    if one is None:
        return f"sweep {parent} {status} folds=none"
    numbers = [f"folds={len(one.rows)}", f"mean={statistics.fmean(one.values)!r}", f"spread={spread(one.values)!r}"]
    overrides = [shlex.quote(f"{key}={value}") for key, value in one.overrides.items()]
    return " ".join(["sweep", parent, status, *numbers, *overrides])


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(row: Row) -> int:
    text = row.overrides.get(FOLD, "")
    return int(text) if text.isdecimal() else -1
