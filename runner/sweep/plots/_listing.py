"""A page with one row for each job or configuration: its words on the left, its numbers on an axis, a figure right."""

from typing import TYPE_CHECKING

from runner.plots import _style
from runner.sweep.plots import _look, _scale
from runner.sweep.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.22  # inches
WORDS, FIGURES, BELOW, ABOVE = 3.2, 1.0, 0.65, _style.HEADER


def height(rows: int) -> float:
    """Inches that so many rows take, without what is below them."""
    return ABOVE + ROW * max(rows, 1) + 0.1


def listing(
    title: str, table: Table, names: list[str], figures: list[str], values: list[float], below: float
) -> tuple["Figure", "Axes"]:
    """The page, and axes on which row i is at y = i, from above. below: inches under the axis' own words."""
    figure = _look.page(title, table, height(len(names)) + BELOW + below)
    wide = max(0.6, *(_style.measure(name, 9) for name in names))
    axes = _style.axes(figure, min(WORDS, wide) + 0.4, _right(figures), BELOW + below, ABOVE)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [_style.fitted(name, WORDS, 9) for name in names])
    axes.tick_params(axis="y", length=0)
    _scale.metric(axes, "x", values, table.metric)
    for place, text in enumerate(figures):
        axes.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), xytext=(10, 0), textcoords="offset points",
            fontsize=9, va="center",
        )  # fmt: skip
    return figure, axes


def _right(figures: list[str]) -> float:
    return 0.35 + max(_style.measure(text, 9) for text in figures)
