"""The result against each parameter, in one panel each."""

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from runner.plots import _style
from runner.sweeps.report.plots import Curves, _common, _scale
from runner.sweeps.report.plots._parameters import SEED, Parameter, drawable, parameters
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12  # panels
VALUES = 16  # of a parameter, from which on neighbours have a median together
FEW = 8  # results of each value on average, up to which this is so
LABELS = ["job", "pruned", "median", "middle half", "best"]  # of the legend
OFTEN = 20  # results of a value, from which on the middle half of them is drawn
PANEL = 2.3  # inches of its axes
LEFT, BETWEEN, RIGHT, BELOW = 0.9, 0.75, 0.25, 0.65


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw a point for each job with a value, and a line through the medians where values occur several times."""
    rows, varied = drawable(table.standing), parameters(table)[:MOST]
    if not rows or not varied:
        return None
    columns = 1 if len(varied) == 1 else 2
    wide = (_style.WIDTH - LEFT - RIGHT - (columns - 1) * BETWEEN) / columns
    lines = [varied[i : i + columns] for i in range(0, len(varied), columns)]
    below = [BELOW + max(_taken(parameter, wide) for parameter in line) for line in lines]
    high = PANEL if len(varied) > 1 else 3.4
    figure = _common.page("Results by parameter", table, _style.HEADER + len(lines) * (high + 0.2) + sum(below))
    top = _style.HEADER
    for line, room in zip(lines, below, strict=True):
        for column, parameter in enumerate(line):
            left = LEFT + column * (wide + BETWEEN)
            bottom = figure.get_figheight() - top - high
            axes = _style.axes(figure, left, _style.WIDTH - left - wide, bottom, top)
            _draw_panel(axes, table, rows, parameter, wide)
        top += high + 0.2 + room
    every = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = sorted(every, key=lambda label: LABELS.index(label))
    _style.legend(figure.axes[min(columns, len(varied)) - 1], [every[label] for label in order])
    return figure


def _taken(parameter: Parameter, wide: float) -> float:
    """Return the inches that upright labels need below the usual ones."""
    if parameter.numeric:
        return 0.0
    _, upright, names = _scale.labels(parameter.values, wide)
    return max(_style.measure(name, 9) for name in names) - 0.1 if upright else 0.0


def _draw_panel(axes: "Axes", table: Table, rows: list[Row], parameter: Parameter, wide: float) -> None:
    _scale.parameter(axes, "x", parameter, wide)
    _scale.metric(axes, "y", [row.value or 0.0 for row in rows], table.metric)
    axes.set_xlabel(_style.fitted(parameter.name, wide, 10) + (" (logarithmic)" if parameter.log else ""))
    full, pruned = ([row for row in rows if (row.pruned is not None) is is_pruned] for is_pruned in (False, True))
    _draw_points(axes, full, parameter, "job", color=_style.BLUE)
    _draw_points(axes, pruned, parameter, "pruned", color=_style.GREY, markerfacecolor="none")
    _draw_medians(axes, rows, parameter)
    best = _common.best(table)
    if best is not None:
        _common.star(axes, parameter.place(best), best.value or 0.0)


def _draw_points(axes: "Axes", rows: list[Row], parameter: Parameter, label: str, **style: str) -> None:
    if rows:
        x, y = [parameter.place(row) for row in rows], [row.value or 0.0 for row in rows]
        size, alpha = (5, 0.7) if len(rows) <= 150 else (3, 0.5) if len(rows) <= 600 else (2.5, 0.25)
        axes.plot(x, y, "o", linestyle="none", markersize=size, alpha=alpha, label=label, **style)  # type: ignore[arg-type]


def _draw_medians(axes: "Axes", rows: list[Row], parameter: Parameter) -> None:
    """Draw the medians, of neighbours where the values are many.

    Not where most of few values occur once: the line would be a zigzag through the points. And not of many seeds, which
    are in no order.
    """
    groups: dict[float, list[float]] = {}
    for row in rows:
        groups.setdefault(parameter.place(row), []).append(row.value or 0.0)
    if len(groups) > VALUES and parameter.key == SEED:
        return
    if len(groups) > VALUES and parameter.numeric and len(rows) < FEW * len(groups) and len(rows) >= OFTEN * VALUES:
        x, together = _neighbours(groups)
    else:
        x = sorted(groups)
        together = [groups[place] for place in x]
        if len(groups) * 2 > len(rows) or len(groups) < 2:
            return
    y = [median(values) for values in together]
    if parameter.numeric:
        axes.plot(x, y, color=_style.RED, linewidth=1.6, label="median", zorder=4)
    else:
        axes.plot(x, y, "_", color=_style.RED, markersize=22, markeredgewidth=2, label="median", zorder=4)
    if min(map(len, together)) >= OFTEN:
        low, _, high = zip(*(quantiles(values, n=4) for values in together), strict=True)
        style: dict[str, Any] = {"color": _style.RED, "label": "middle half", "zorder": 3}
        if parameter.numeric:
            axes.fill_between(x, low, high, alpha=0.25, linewidth=0, **style)
        else:
            axes.vlines(x, low, high, alpha=0.45, linewidth=5, **style)


def _neighbours(groups: dict[float, list[float]]) -> tuple[list[float], list[list[float]]]:
    """Return at most VALUES groups of neighbouring values: the middle of each, and its results."""
    pairs = [(place, value) for place in sorted(groups) for value in groups[place]]
    size = -(-len(pairs) // VALUES)
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [median(place for place, _ in part) for part in parts], [[value for _, value in part] for part in parts]
