"""Mean results over two parameters, as a grid, or as points in the plane where the values form no grid."""

from statistics import mean
from typing import TYPE_CHECKING

from runner.plots import _style
from runner.sweeps.report.plots import Curves, _common, _scale
from runner.sweeps.report.plots._parameters import Parameter, drawable, parameters, tuned
from runner.sweeps.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Cells = dict[tuple[float, float], float]
WRITTEN = 12  # rows and columns up to which the values are written
LARGE = 400  # cells from which on they are drawn as one image
FILLED = 0.25  # share of filled cells below which points are drawn instead
RIGHT, TOP = 1.2, 0.95


def draw(table: Table, curves: Curves) -> "Figure | None":
    """Draw the mean result for each pair of values of two parameters apart from the seed."""
    varied, rows = tuned(table), drawable(table.standing)
    if len(varied) != 2 or not rows:
        return None
    across, down = sorted(varied, key=lambda parameter: -len(parameter.values))
    cells = means(rows, across, down)
    if len(cells) < FILLED * len(across.values) * len(down.values):
        return _plane(table, rows, across, down)
    return _grid(table, rows, across, down)


def means(rows: list[Row], across: Parameter, down: Parameter) -> Cells:
    """Return the mean result for each pair of positions on both axes."""
    groups: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        groups.setdefault((across.place(row), down.place(row)), []).append(row.value or 0.0)
    return {pair: mean(values) for pair, values in groups.items()}


def _grid(table: Table, rows: list[Row], across: Parameter, down: Parameter) -> "Figure":
    cells = means(rows, across, down)
    names = [_style.fitted(value, 1.6, 9) for value in down.values]
    left = 0.75 + max(_style.measure(name, 9) for name in names)
    wide = _style.WIDTH - left - RIGHT
    every, upright, labels = _scale.labels(across.values, wide)
    below = 0.6 + (max(_style.measure(label, 9) for label in labels) if upright else 0.12)
    high = min(5.5, max(1.6, 0.42 * len(down.values)))
    figure = _common.page(_title(table), table, TOP + high + below)
    axes = _style.axes(figure, left, RIGHT, below, TOP)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, len(across.values) - 0.5), ylim=(-0.5, len(down.values) - 0.5))
    axes.set_xticks(range(0, len(across.values), every), labels, rotation=90 if upright else 0)
    spaced = max(1, -(-len(down.values) * 17 // int(100 * high)))  # labels need 0.17 inches
    axes.set_yticks(range(0, len(down.values), spaced), names[::spaced])
    _name(axes, across, down, wide, high)
    norm = _common.normalize(list(cells.values()))
    _draw_cells(axes, table, cells, across, down, norm)
    if max(len(across.values), len(down.values)) <= WRITTEN:
        _write_cells(axes, table, rows, across, down, norm, wide / len(across.values))
    _style.legend(axes)
    _common.bar(figure, axes, table, norm)
    return figure


def _plane(table: Table, rows: list[Row], across: Parameter, down: Parameter) -> "Figure":
    figure = _common.page(_title(table), table, 5.0)
    left = 0.9 if down.numeric else 0.75 + min(1.6, max(_style.measure(value, 9) for value in down.values))
    axes = _style.axes(figure, left, RIGHT, 0.65, TOP)
    _scale.parameter(axes, "x", across, _style.WIDTH - left - RIGHT)
    _scale.parameter(axes, "y", down, 3.5)
    _name(axes, across, down, 5.0, 3.5)
    norm = _common.normalize([row.value or 0.0 for row in rows])
    shade = _common.shades(table, norm)
    worst_first = rows[::-1]  # the best is drawn over the others
    at = [across.place(row) for row in worst_first], [down.place(row) for row in worst_first]
    axes.scatter(*at, c=[shade(row.value or 0.0) for row in worst_first], s=60, edgecolors="white", linewidths=0.5)
    best = _common.best(table)
    if best is not None:
        _common.star(axes, across.place(best), down.place(best))
    _style.legend(axes)
    _common.bar(figure, axes, table, norm)
    return figure


def _title(table: Table) -> str:
    seeds = "" if len(parameters(table)) == 2 else ", mean over the seeds"
    return f"Results by two parameters{seeds}"


def _name(axes: "Axes", across: Parameter, down: Parameter, wide: float, high: float) -> None:
    axes.set_xlabel(_style.fitted(across.name, wide, 10))
    axes.set_ylabel(_style.fitted(down.name, high, 10))


def _draw_cells(
    axes: "Axes", table: Table, cells: Cells, across: Parameter, down: Parameter, norm: "Normalize"
) -> None:
    """Colour the cells, hatch those without a value, and frame the best."""
    from matplotlib.patches import Rectangle

    shade = _common.shades(table, norm)
    best = (min if table.mode == "min" else max)(cells, key=lambda pair: cells[pair])
    large = len(across.values) * len(down.values) > LARGE
    for x, at_x in enumerate(across.places if not large else []):
        for y, at_y in enumerate(down.places):
            value = cells.get((at_x, at_y))
            style = {"facecolor": "white", "edgecolor": _style.PALE, "hatch": "////", "linewidth": 0}
            if value is not None:
                style = {"facecolor": shade(value), "edgecolor": "white", "linewidth": 0.5}
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **style))  # type: ignore[arg-type]
    if large:  # as an image, through which the hatched ground is seen
        axes.axhspan(-0.5, len(down.values) - 0.5, facecolor="white", edgecolor=_style.PALE, hatch="////", linewidth=0)
        colours = [
            [shade(cells[x, y]) if (x, y) in cells else (1, 1, 1, 0) for x in across.places] for y in down.places
        ]
        axes.imshow(colours, origin="lower", aspect="auto", interpolation="nearest", zorder=1)
    x, y = across.places.index(best[0]), down.places.index(best[1])
    frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=_style.RED, linewidth=3, zorder=5)
    frame.set_label("best")
    frame.set_clip_on(False)
    axes.add_patch(frame)
    if len(cells) < len(across.values) * len(down.values):
        axes.fill([], [], facecolor="white", edgecolor=_style.PALE, hatch="////", label="no result")


def _write_cells(
    axes: "Axes", table: Table, rows: list[Row], across: Parameter, down: Parameter, norm: "Normalize", room: float
) -> None:
    """Write the means into cells `room` inches wide, in brackets where a job was pruned."""
    pruned = {(across.place(row), down.place(row)) for row in rows if row.pruned is not None}
    shade = _common.shades(table, norm)
    cells = means(rows, across, down)
    widest = max(_style.measure(f"({_style.number(value, 3)})", 9) for value in cells.values())
    size = min(9.0, 9.0 * room / widest)
    for (at_x, at_y), value in cells.items():
        red, green, blue, _ = shade(value)
        colour = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        x, y = across.places.index(at_x), down.places.index(at_y)
        text = f"({_style.number(value, 3)})" if (at_x, at_y) in pruned else _style.number(value, 3)
        axes.text(x, y, text, color=colour, fontsize=size, ha="center", va="center")
    if pruned:
        axes.plot([], [], " ", label="(with a pruned job)")
