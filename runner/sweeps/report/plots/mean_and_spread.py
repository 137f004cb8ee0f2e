"""The effect of the seed: mean and sample standard deviation of each configuration over its seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.plots import _style
from runner.sweeps.report.plots import Curves, _common, _listing, _scale
from runner.sweeps.report.plots._parameters import SEED, drawable, parameters, spans, tuned
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 30  # configurations that are shown
MANY = 30  # seeds of a configuration
CURVES = 8  # configurations up to which there are mean curves
HIGH = 3.2  # inches of the curves


@dataclass(frozen=True)
class Group:
    """The jobs that differ by their seed only."""

    rows: list[Row]

    @property
    def values(self) -> list[float]:
        """The results of the jobs."""
        return [row.value or 0.0 for row in self.rows]

    @property
    def mean(self) -> float:
        """The mean of the results."""
        return fmean(self.values)

    @property
    def spread(self) -> float:
        """The sample standard deviation (divided by n - 1); 0 for one value."""
        return stdev(self.values) if len(self.rows) > 1 else 0.0


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw each configuration's mean with a bar of one standard deviation to either side, and the single results."""
    averages = groups(table)
    if SEED not in [parameter.key for parameter in parameters(table)] or not averages:
        return None
    shown = averages[:MOST]
    averaged = {place: _averaged(group, curves) for place, group in enumerate(shown)} if len(shown) <= CURVES else {}
    averaged = {place: points for place, points in averaged.items() if points}
    below = HIGH + 0.9 if averaged else 0.0
    title = "Mean ± sample standard deviation over the seeds"
    keys = [parameter.key for parameter in tuned(table)]
    figures = [_figures(group) for group in shown]
    values = [value for group in shown for value in [*group.values, group.mean]]
    values += [end for g in shown for end in (g.mean - g.spread, g.mean + g.spread) if end > 0 or not spans(values)]
    first = [group.rows[0] for group in shown]
    figure, axes = _listing.listing(title, table, first, keys, figures, values, below, "all jobs")
    _draw_groups(axes, shown, bool(averaged))
    if averaged:
        _draw_curves(_style.axes(figure, 0.9, 0.25, 0.65, figure.get_figheight() - 0.65 - HIGH), averaged)
    return figure


def groups(table: Table) -> list[Group]:
    """Return the groups of jobs that differ by their seed only, the best mean first."""
    by_values: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in drawable(table.standing):
        by_values.setdefault(tuple(item for item in row.overrides.items() if item[0] != SEED), []).append(row)
    sign = 1 if table.mode == "min" else -1
    return sorted((Group(rows) for rows in by_values.values()), key=lambda group: sign * group.mean)


def _figures(group: Group) -> str:
    spread = f" ± {_style.number(group.spread, 2)}" if len(group.rows) > 1 else ""
    return f"{_style.number(group.mean)}{spread}  (n = {len(group.rows)})"


def _colour(place: int, coloured: bool) -> str:
    return _common.COLOURS[place % len(_common.COLOURS)] if coloured else _style.BLUE


def _draw_groups(axes: "Axes", shown: list[Group], coloured: bool) -> None:
    low = axes.get_xlim()[0]
    for place, group in enumerate(shown):
        label = "_" if place else ""
        colour = _colour(place, coloured)
        ends = [max(low, group.mean - group.spread), group.mean + group.spread]
        bar: dict[str, Any] = {"linewidth": 1.6, "markersize": 7, "zorder": 2}
        dots: dict[str, Any] = {"alpha": 0.8, "zorder": 3}
        if len(group.rows) > MANY:  # whose dots would hide the bar
            bar = {"linewidth": 2.4, "markersize": 9, "markeredgewidth": 2.4, "zorder": 3}
            dots = {"alpha": 0.15, "zorder": 2}
        axes.plot(ends, [place] * 2, "|-", color=colour, label=label or "± one std", **bar)
        axes.plot(group.values, [place] * len(group.rows), "o", markersize=3.5, color=_style.GREY, linestyle="none",
                  label=label or "one seed", **dots)  # fmt: skip
        axes.plot([group.mean], [place], "D", markersize=6, color=colour, markeredgecolor="white",
                  markeredgewidth=0.6, linestyle="none", label=label or "mean", zorder=4)  # fmt: skip
    _style.legend(axes)


Band = list[tuple[int, float, float]]  # step, mean, standard deviation


def _averaged(group: Group, curves: Curves) -> Band:
    """Average the curves of a group, at the steps at which all its jobs have a finite value."""
    each = [{s: v for s, v in curves.get(row.number, []) if v is not None and abs(v) < 1e150} for row in group.rows]
    steps = sorted(set.intersection(*(set(points) for points in each)))
    values = np.array([[points[step] for step in steps] for points in each])
    spreads = values.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(len(steps))
    return list(zip(steps, values.mean(axis=0).tolist(), spreads.tolist(), strict=True))


def _draw_curves(axes: "Axes", averaged: Mapping[int, Band]) -> None:
    """Draw mean curves with a band of one standard deviation to either side."""
    middles = [value for band in averaged.values() for _, value, _ in band]
    _scale.metric(axes, "y", middles, "mean of the curves")
    floor = axes.get_ylim()[0] if spans(middles) else None
    for place, band in averaged.items():
        x, y, spread = (list(column) for column in zip(*band, strict=True))
        low = [a - b if floor is None else max(floor, a - b) for a, b in zip(y, spread, strict=True)]
        high = [a + b for a, b in zip(y, spread, strict=True)]
        axes.fill_between(x, low, high, color=_colour(place, True), alpha=0.2, linewidth=0)
        axes.plot(x, y, color=_colour(place, True), linewidth=1.6, marker="o" if len(x) == 1 else "", markersize=4)
    axes.set_xlabel("optimizer steps")
    steps = {step for band in averaged.values() for step, _, _ in band}
    if len(steps) == 1:  # of one validation, around which ticks would be parts of a step
        axes.set_xlim(min(steps) - 1, min(steps) + 1)
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter(lambda step, position: f"{step:,.0f}")
