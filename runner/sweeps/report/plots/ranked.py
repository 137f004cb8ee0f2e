"""The jobs ranked by their result, the best on top, with failed jobs below."""

from typing import TYPE_CHECKING

from runner.plots import _style
from runner.settings.trust import terminal
from runner.sweeps.report import words
from runner.sweeps.report.plots import Curves, _common, _listing
from runner.sweeps.report.plots._parameters import drawable, parameters
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 30  # jobs that are shown
FAILURES = 10  # failures that are listed
LINE = 0.19  # inches for each


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw a dot for each job, on a logarithmic axis if the results span two decades."""
    rows, failed = drawable(table.standing), [row for row in table.rows if row.status in ("FAILED", "KILLED")]
    if not rows:
        return _only_failures(table, failed) if failed else None
    shown = rows[:MOST]
    names, values = words.short(table.keys), [row.value or 0.0 for row in shown]
    below = LINE * len(_failures(failed, names)) + (0.1 if failed else 0)
    figures = [_style.number(value) for value in values]
    title = f"The best {MOST} of {len(rows):,} results" if len(rows) > MOST else "Results ranked"
    keys = [parameter.key for parameter in parameters(table)]
    figure, axes = _listing.listing(title, table, shown, keys, figures, values, below)
    _draw_dots(axes, table, shown)
    _write_failures(figure, failed, names, figure.get_figheight() - below)
    return figure


def _draw_dots(axes: "Axes", table: Table, rows: list[Row]) -> None:
    best = _common.best(table)
    styles = {
        "finished": {"color": _style.BLUE},
        "pruned": {"markerfacecolor": "white", "color": _style.GREY},
        "running": {"markerfacecolor": "white", "color": _style.BLUE},
    }
    for kind, style in styles.items():
        at = [(place, row) for place, row in enumerate(rows) if _kind(row) == kind and row is not best]
        if at:
            x, y = [row.value or 0.0 for _, row in at], [place for place, _ in at]
            axes.plot(x, y, "o", markersize=6, label=kind, linestyle="none", **style)  # type: ignore[arg-type]
    for place, row in enumerate(rows):
        if row is best:
            _common.star(axes, row.value or 0.0, place)
    _style.legend(axes)


def _kind(row: Row) -> str:
    return "pruned" if row.pruned is not None else row.status.lower()


def _failures(failed: list[Row], names: dict[str, str]) -> list[str]:
    """Return a line for each of the first FAILURES failed jobs, and one that counts the others."""
    lines = [f"{row.status.lower()}: {words.named(row, names) or f'job {row.number}'}" for row in failed[:FAILURES]]
    lines = [f"{line}  {terminal.line(row.reason)}" for line, row in zip(lines, failed, strict=False)]
    return [*lines, f"and {len(failed) - FAILURES} more"] if len(failed) > FAILURES else lines


def _write_failures(figure: "Figure", failed: list[Row], names: dict[str, str], top: float) -> None:
    for place, line in enumerate(_failures(failed, names)):
        text = _style.fitted(line, _style.WIDTH - 0.4, 9)
        _style.write(figure, 0.2, top + LINE * (place + 0.5), text, size=9, color=_style.RED)


def _only_failures(table: Table, failed: list[Row]) -> "Figure":
    names = words.short(table.keys)
    figure = _common.page("No job has a result", table, 1.0 + LINE * len(_failures(failed, names)))
    _write_failures(figure, failed, names, 0.8)
    return figure
