"""The curves of all jobs in one figure."""

from typing import TYPE_CHECKING, Any

import numpy as np

from runner.plots import _style
from runner.sweeps.report import words
from runner.sweeps.report.plots import Curves, _common, _scale
from runner.sweeps.report.plots._parameters import drawable, spans
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = list[tuple[int, float]]
FEW = 10  # curves up to which each is named
LINE = 0.2  # inches for each name
BEYOND = 1e3  # times the first values' median, above which a logarithmic axis ends
MOST, LEAST = 1000, 50  # points of a curve that a plot can show, and that it shows of each of many
ALL = 200_000  # points of all curves


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw all curves, on a logarithmic axis if they span two decades. Few are named, many coloured by their result."""
    most = max(LEAST, min(MOST, ALL // max(1, len(curves))))
    finite = {number: _finite(points, most) for number, points in curves.items()}
    rows = [row for row in [*table.standing, *table.rows] if finite.get(row.number)]
    rows = list({row.number: row for row in rows}.values())  # by rank, then those without one
    if not rows:
        return None
    few = len(rows) <= FEW
    below = LINE * len(rows) + 0.1 if few else 0.0
    figure = _common.page(f"Curves: {_named(table, finite)} of all jobs", table, 5.0 + below)
    axes = _style.axes(figure, right=0.25 if few else 1.2, bottom=0.65 + below)
    _limits(axes, [finite[row.number] for row in rows], _named(table, finite))
    _draw(axes, table, rows, finite, few)
    axes.set_xlim(0, max(step for row in rows for step, _ in finite[row.number]) * 1.02)
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter(lambda step, position: f"{step:,.0f}")
    axes.set_xlabel("optimizer steps")
    if few:
        _write_names(figure, table, rows, 5.0)
    elif ranked := drawable(table.standing):
        _common.bar(figure, axes, table, _common.normalize([row.value or 0.0 for row in ranked]))
    if axes.get_legend_handles_labels()[1]:
        _style.legend(axes)
    return figure


def _finite(points: Points, most: int) -> Points:
    """Return the points of a curve that can be drawn, at most about so many of them, the last one included."""
    finite = [(step, value) for step, value in points if value is not None and abs(value) < 1e300]
    every = -(-len(finite) // most)
    return finite if every <= 1 else [*finite[::every], finite[-1]]


def _named(table: Table, curves: Curves) -> str:
    """Return the metric of the curves: the ranked one if their best values are the jobs' results, or train/loss."""
    best = min if table.mode == "min" else max
    ranked = [row for row in drawable(table.rows) if curves.get(row.number)]
    same = [np.isclose(best(value for _, value in curves[row.number]), row.value or 0.0, 1e-6, 0.0) for row in ranked]
    return table.metric if sum(map(bool, same)) * 2 >= len(ranked) else "train/loss"


def _limits(axes: "Axes", curves: list[Points], name: str) -> None:
    """Set the limits of y; curves that diverge leave the plot, since all others would be flat."""
    values = [value for points in curves for _, value in points]
    if spans(values):
        top = BEYOND * float(np.median([points[0][1] for points in curves]))
        values = [value for value in values if value <= top]
    _scale.metric(axes, "y", values, name)


def _draw(axes: "Axes", table: Table, rows: list[Row], curves: Curves, few: bool) -> None:
    best, styles = _common.best(table), _styles(table, rows, few)
    many = [row for row in rows if row is not best] if len(rows) > _common.MANY else []
    if many:
        lines = [[(float(step), value) for step, value in curves[row.number]] for row in many]
        colours = [styles[row.number]["color"] for row in many]
        _common.thin(axes, lines, colours, linewidth=0.8, alpha=_common.alpha(len(rows)), zorder=2)
    for row in [best] if many and best in rows else [] if many else reversed(rows):
        x, y = zip(*curves[row.number], strict=True)
        style = {**styles[row.number], "linewidth": 2.6 if row is best else 1.3 if few else 0.8}
        axes.plot(x, y, zorder=4 if row is best else 2, marker="o" if len(x) == 1 else "", markersize=4, **style)
    _mark_ends(axes, [curves[row.number][-1] for row in rows if row.pruned is not None], "pruned", _style.BLACK)
    for status in ("FAILED", "KILLED"):
        ends = [curves[row.number][-1] for row in rows if row.status == status]
        _mark_ends(axes, ends, status.lower(), _style.RED)
    if best is not None and best in rows:
        _common.star(axes, *_best_point(table, curves[best.number]))


def _styles(table: Table, rows: list[Row], few: bool) -> dict[int, dict[str, Any]]:
    """Return colour and dashes of each job; among many, jobs without a result are grey."""
    if few:
        count, dashes = len(_common.COLOURS), ["-", "--"]
        return {
            row.number: {"color": _common.COLOURS[i % count], "linestyle": dashes[i // count]}
            for i, row in enumerate(rows)
        }
    values = {row.number: row.value or 0.0 for row in drawable(table.standing)}
    shade = _common.shades(table, _common.normalize(list(values.values()))) if values else None
    coloured = {number: {"color": shade(value), "alpha": 0.8} for number, value in values.items()} if shade else {}
    styles = {row.number: coloured.get(row.number, {"color": _style.PALE}) for row in rows}
    best = _common.best(table)
    return styles | ({best.number: {"color": _style.RED}} if best is not None else {})


def _mark_ends(axes: "Axes", ends: Points, label: str, colour: str) -> None:
    if ends:
        x, y = zip(*ends, strict=True)
        size = 7 if len(ends) <= FEW else 4
        axes.plot(
            x, y, "x", color=colour, markersize=size, markeredgewidth=1.6, linestyle="none", label=label, zorder=5
        )


def _best_point(table: Table, points: Points) -> tuple[int, float]:
    return (min if table.mode == "min" else max)(points, key=lambda point: point[1])


def _write_names(figure: "Figure", table: Table, rows: list[Row], top: float) -> None:
    """Write the jobs below the axes, the best first."""
    on, names, styles = _style.sheet(figure), words.short(table.keys), _styles(table, rows, True)
    for place, row in enumerate(rows):
        height = top + LINE * place + 0.05
        on.plot(
            [0.9, 1.3], [height, height], linewidth=2.6 if row is _common.best(table) else 1.4, **styles[row.number]
        )
        value = "" if row.value is None else f"  {_style.number(row.value)}"
        text = (words.named(row, names) or f"job {row.number}") + (
            "" if row.status == "FINISHED" else f"  {row.status}"
        )
        _style.write(figure, 1.4, height + 0.04, _style.fitted(text, 5.4, 9), size=9)
        _style.write(figure, _style.WIDTH - 0.25, height + 0.04, value, size=9, ha="right")
