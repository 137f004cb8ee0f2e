"""Parallel coordinates: an axis for each of three or more parameters, one for the result, and a line for each job."""

from typing import TYPE_CHECKING

import numpy as np

from runner.plots import _style
from runner.sweeps.report.plots import Curves, _common, _scale
from runner.sweeps.report.plots._parameters import Parameter, drawable, spans, tuned
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ticks = list[tuple[float, str]]  # height from 0 to 1, label
MOST = 8  # parameters that fit on a page
LEFT, RIGHT, TOP, BELOW = 0.9, 0.75, 1.25, 0.3
TICKS = 9  # labels along an axis
BEST = 50  # jobs whose lines lie above the others where these are many


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw a line for each job, the better the darker; the best is red, failed and pruned jobs are grey."""
    varied, rows = tuned(table), drawable(table.standing)
    if len(varied) < 3 or not rows:
        return None
    shown = varied[:MOST]
    more = f" (the first {MOST} of {len(varied)} parameters)" if len(varied) > MOST else ""
    front = f", the best {BEST} in front" if len(rows) > _common.MANY else ""
    figure = _common.page(f"All parameters{front}{more}", table, 5.4)
    axes = _style.axes(figure, LEFT, RIGHT, BELOW, TOP)
    axes.set(xlim=(0, len(shown)), ylim=(-0.03, 1.03), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    slot = (_style.WIDTH - LEFT - RIGHT) / len(shown)
    _draw_lines(axes, table, rows, shown)
    for place, parameter in enumerate(shown):
        _draw_axis(axes, place, parameter.name, _ticks(parameter), slot)
    _draw_axis(axes, len(shown), table.metric, _metric_ticks([row.value or 0.0 for row in rows]), slot, True)
    _style.legend(axes)
    axes.get_legend().set_bbox_to_anchor((1.0, 1.09))  # type: ignore[union-attr]
    return figure


def height(parameter: Parameter, row: Row) -> float:
    """Return the position of a row on a parameter's axis, from 0 to 1."""
    places = parameter.places if parameter.numeric else [-0.5, len(parameter.values) - 0.5]
    at, low, high = parameter.place(row), min(places), max(places)
    if parameter.log:
        at, low, high = (float(np.log(value)) for value in (at, low, high))
    return (at - low) / (high - low)


def _draw_lines(axes: "Axes", table: Table, rows: list[Row], varied: list[Parameter]) -> None:
    norm = _common.normalize([row.value or 0.0 for row in rows])
    shade, best = _common.shades(table, norm), _common.best(table)
    with_value = {row.number for row in rows}

    def line(row: Row) -> list[tuple[float, float]]:
        heights = [height(parameter, row) for parameter in varied]
        heights += [float(norm(row.value or 0.0))] if row.number in with_value else []
        return [(float(place), at) for place, at in enumerate(heights)]

    without = [row for row in table.rows if row.number not in with_value]
    grey = [*without, *(row for row in rows if row.pruned is not None and row is not best)]
    many = len(rows) > _common.MANY
    last = rows[:BEST] if many else rows
    coloured = [row for row in last if row.pruned is None and row is not best]
    if grey:
        axes.plot([], [], color=_style.PALE, label="failed, pruned or without a result")
    pale = [*grey, *(row for row in rows[BEST:] if many and row.pruned is None)]
    colours = [_style.PALE if row in grey else shade(row.value or 0.0) for row in pale]
    _common.thin(axes, [line(row) for row in pale], colours, linewidth=0.8, zorder=1, clip_on=False,
                 alpha=_common.alpha(len(pale)) if many else None)  # fmt: skip
    thin = 1.2 if len(rows) <= 60 else 0.7
    for row in coloured[::-1]:
        x, y = zip(*line(row), strict=True)
        axes.plot(x, y, clip_on=False, color=shade(row.value or 0.0), linewidth=thin, alpha=0.8, zorder=2)
    if best is not None:
        x, y = zip(*line(best), strict=True)
        axes.plot(x, y, clip_on=False, color=_style.RED, linewidth=2.8, zorder=4, label="best")
        axes.plot([len(varied)], [float(norm(best.value or 0.0))], clip_on=False, **_common.STAR)


def _draw_axis(axes: "Axes", place: int, name: str, ticks: Ticks, slot: float, last: bool = False) -> None:
    axes.plot([place, place], [0, 1], color="black", linewidth=1, zorder=3, clip_on=False)
    axes.annotate(
        _style.fitted(name, 0.9 * slot, 10), (place, 1), xytext=(0, 10), textcoords="offset points", ha="center",
        fontsize=10, annotation_clip=False,
    )  # fmt: skip
    room = 0.7 if place == 0 else 0.6 if last else 0.75 * slot
    for at, text in ticks:
        axes.plot([place], [at], marker="_", color="black", markersize=5, zorder=3, clip_on=False)
        axes.annotate(
            _style.fitted(text, room, 8), (place, at), xytext=(9 if last else -5, 0), textcoords="offset points",
            ha="left" if last else "right",
            va="center", fontsize=8, annotation_clip=False, zorder=5,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _ticks(parameter: Parameter) -> Ticks:
    """Return the ticks of a parameter: its values if they are few, even steps otherwise."""
    if not parameter.numeric:
        count = len(parameter.values)
        every = -(-count // (2 * TICKS))
        return [((i + 0.5) / count, value) for i, value in enumerate(parameter.values)][::every]
    places = parameter.places
    at = _heights(places, min(places), max(places), parameter.log)
    if len(places) <= TICKS and min(np.diff(at)) > 0.045:
        return list(zip(at, parameter.values, strict=True))
    return _even(min(places), max(places), parameter.log)


def _metric_ticks(values: list[float]) -> Ticks:
    low, high = min(values), max(values)
    return _even(low, high, spans(values)) if high > low else [(0.5, _style.number(low))]


def _even(low: float, high: float, log: bool) -> Ticks:
    """Return ticks at both ends and at round values between them."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    candidates = (LogLocator() if log else MaxNLocator(6)).tick_values(low, high)
    inside = [float(value) for value in candidates if low <= value <= high]
    ends = _heights([low, high, *inside], low, high, log)
    ticks = [(0.0, _style.number(low, 3)), (1.0, _style.number(high, 3))]
    words = [_scale.power(v, 0) if log and not 1e-4 <= v <= 1e5 else _style.number(v) for v in inside]
    return ticks + [(h, word) for h, word in zip(ends[2:], words, strict=True) if 0.07 < h < 0.93]


def _heights(values: list[float], low: float, high: float, log: bool) -> list[float]:
    if log:
        return [float(np.log(v / low) / np.log(high / low)) for v in values]
    return [(v - low) / (high - low) for v in values]
