"""A page with one row for each job or configuration: overrides on the left, dots on an axis, a number on the right."""

from typing import TYPE_CHECKING

from runner.plots import _style
from runner.settings.trust import terminal
from runner.sweeps.report import words
from runner.sweeps.report.plots import _common, _scale
from runner.sweeps.report.plots._parameters import MISSING
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.22  # inches
BELOW, ABOVE = 0.65, 1.1
WORDS, GAP, SIZE = 4.0, 0.15, 9.0  # inches for all text columns, inches between two columns, points
MOST = 12  # text columns


def listing(
    title: str,
    table: Table,
    rows: list[Row],
    keys: list[str],
    figures: list[str],
    values: list[float],
    below: float,
    alone: str = "",
) -> tuple["Figure", "Axes"]:
    """Return a page and its axes, on which row i is at y = i, counted from above.

    keys: varied keys, one text column each. figures: a text for each row. values: what the axis must cover.
    below: inches of space under the axis label.
    alone: stands beside a row where no key is varied; "": the number of its job.
    """
    more = f" (the first {MOST} of {len(keys)} parameters)" if len(keys) > MOST else ""
    columns = _columns(rows, keys[:MOST], table, alone)
    widths = shared([_widest([name, *cells]) for name, cells in columns.items()], WORDS - GAP * len(columns))
    height = ABOVE + ROW * len(rows) + BELOW + below
    figure = _common.page(f"{title}{more}", table, height)
    left = 0.2 + sum(widths) + GAP * len(widths)
    right = 0.35 + _widest(figures)
    axes = _style.axes(figure, left, right, BELOW + below, ABOVE)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.tick_params(axis="y", length=0)
    _scale.metric(axes, "x", values, table.metric)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=max(2, int((_style.WIDTH - left - right) / 0.65)))
    _write_columns(figure, columns, widths)
    for place, text in enumerate(figures):
        _style.write(figure, _style.WIDTH - 0.15 - _widest(figures), _baseline(place), text, size=SIZE)
    return figure, axes


def shared(widths: list[float], room: float) -> list[float]:
    """Return the widths, the widest ones shortened until their sum fits into `room`."""
    if sum(widths) <= room:
        return widths
    if room <= 0:
        return [0.0] * len(widths)
    most = max(widths)
    while sum(min(width, most) for width in widths) > room:
        most *= 0.98
    return [min(width, most) for width in widths]


def _columns(rows: list[Row], keys: list[str], table: Table, alone: str) -> dict[str, list[str]]:
    """Return short name -> the value of each row; `alone`, or the job numbers, if no key is varied."""
    names = words.short(table.keys)
    columns = {names[key]: [terminal.line(row.overrides.get(key, MISSING)) for row in rows] for key in keys}
    return columns or ({" ": [alone for _ in rows]} if alone else {"job": [str(row.number) for row in rows]})


def _write_columns(figure: "Figure", columns: dict[str, list[str]], widths: list[float]) -> None:
    left = 0.2
    for (name, cells), width in zip(columns.items(), widths, strict=True):
        for place, text in enumerate([name, *cells], -1):
            style = {"color": _style.GREY} if place < 0 else {}
            _style.write(figure, left, _baseline(place), _style.fitted(text, width + 0.01, SIZE), size=SIZE, **style)
        left += width + GAP


def _baseline(place: int) -> float:
    return ABOVE + ROW * (place + 0.5) + 0.045


def _widest(texts: list[str]) -> float:
    return max(_style.measure(text, SIZE) for text in texts)
