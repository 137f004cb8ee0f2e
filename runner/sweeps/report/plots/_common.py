"""Parts shared by the plots of a sweep: the header, the star of the best job, colours by value."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.plots import _style
from runner.sweeps.report import words
from runner.sweeps.report.plots._parameters import drawable, spans
from runner.sweeps.report.table import STATES, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

#: Okabe and Ito's colours for lines, without yellow, which is too pale on white.
COLOURS = [_style.BLUE, _style.RED, _style.GREEN, "#CC79A7", _style.SKY, _style.ORANGE, _style.BLACK, _style.GREY]
STAR: dict[str, Any] = {
    "marker": "*", "markersize": 13, "color": _style.ORANGE, "markeredgecolor": "black", "markeredgewidth": 0.8,
    "linestyle": "none", "zorder": 6,
}  # fmt: skip


#: Lines from which on each is pale: where they are many, what they have in common is seen.
MANY = 200


def alpha(count: int) -> float:
    """Return how opaque each of so many lines is."""
    return 0.8 if count <= MANY else max(0.12, 0.8 * MANY / count)


def thin(axes: "Axes", lines: list[list[tuple[float, float]]], colours: list[Any], **style: Any) -> None:
    """Draw many lines, those of different colours mixed, so that none of them hides the others.

    lines: each by its points.
    """
    from matplotlib.collections import LineCollection

    mixed = sorted(range(len(lines)), key=lambda place: place * 0.6180339887 % 1.0)
    axes.add_collection(
        LineCollection([lines[i] for i in mixed], colors=[colours[i] for i in mixed], **style), autolim=False
    )


def page(title: str, table: Table, height: float) -> "Figure":
    """Return a page with the metric and the statuses of the jobs below its title, and a count of missing values."""
    counts = {status: len(table.having(status)) for status in STATES}
    pruned = sum(row.pruned is not None for row in table.rows)
    further = {"FINISHED": f" ({pruned:,} pruned)" if pruned else ""}
    states = [f"{count:,} {status.lower()}{further.get(status, '')}" for status, count in counts.items() if count]
    lost = sum(row.status == "FINISHED" for row in table.rows) - len(drawable(table.having("FINISHED")))
    note = f"{words.counted(lost, 'finished job')} without a finite {table.metric}" if lost else ""
    name = f"{table.metric}, {table.better}; {words.counted(len(table.rows), 'job')}: {', '.join(states)}"
    return _style.page(title, name, height, note)


def best(table: Table) -> Row | None:
    """Return the best FINISHED job, or the best running one while none is FINISHED; None without either."""
    rows, best = drawable(table.standing), table.best
    if any(row is best for row in rows):
        return best
    return next((row for row in rows if row.status == "FINISHED"), rows[0] if rows else None)


def star(axes: "Axes", x: float, y: float, label: str = "best") -> None:
    """Mark the best job."""
    axes.plot([x], [y], label=label, **STAR)


def normalize(values: list[float]) -> "Normalize":
    """Return a scale from 0, the smallest value, to 1, the largest; logarithmic if they span two decades."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = min(values), max(values)
    if spans(values):
        return LogNorm(low, high)
    return Normalize(low, high) if high > low else Normalize(low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def shades(table: Table, norm: "Normalize") -> Callable[[float], Any]:
    """Return a function from a value to a colour: the better, the darker."""
    from matplotlib import colormaps

    colours = colormaps[shade_name(table)]
    return lambda value: colours(float(norm(value)))


def shade_name(table: Table) -> str:
    """Return the name of the colour map in which better values are darker."""
    return _style.SHARES if table.mode == "min" else f"{_style.SHARES}_r"


def bar(figure: "Figure", beside: "Axes", table: Table, norm: "Normalize") -> None:
    """Draw a colour bar to the right of `beside`."""
    from matplotlib.cm import ScalarMappable

    from runner.sweeps.report.plots import _scale

    box = beside.get_position()
    place = figure.add_axes((box.x1 + 0.2 / _style.WIDTH, box.y0, 0.15 / _style.WIDTH, box.height))
    drawn = figure.colorbar(ScalarMappable(norm, shade_name(table)), cax=place)
    drawn.set_label(_style.fitted(table.metric, box.height * figure.get_figheight(), 9), fontsize=9)
    drawn.ax.tick_params(labelsize=8)
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    if type(norm).__name__ == "LogNorm":
        drawn.ax.yaxis.set_major_formatter(_scale.plain if low >= 1e-4 and high <= 1e5 else _scale.power)
        drawn.ax.yaxis.set_minor_formatter(lambda value, position: "")
    else:  # matplotlib's own would write a factor above the bar
        drawn.ax.yaxis.set_major_formatter(lambda value, position: _style.number(value, 6))
