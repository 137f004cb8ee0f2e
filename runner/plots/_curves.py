"""Curves over the optimizer steps: recorded values, axes for them, and as many points as a line can show."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runner.plots import Subject, _ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = NDArray[np.float64]
MOST = 2000  # points that a line of 960 pixels can show


def series(run: Subject, name: str) -> tuple[Numbers, Numbers]:
    """Return steps and values, NaN for all that is not finite or too large to draw."""
    points = run.history.get(name, [])
    columns: Any = points.columns() if hasattr(points, "columns") else tuple(zip(*points, strict=True)) or ([], [])
    steps, values = (np.array(column, dtype=float) for column in columns)
    return steps, np.where(np.abs(values) < 1e300, values, np.nan)


def equal(one: tuple[Numbers, Numbers], other: tuple[Numbers, Numbers]) -> bool:
    """Return whether two curves are the same, so that one would hide the other."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def scale(axes: "Axes", values: Numbers, label: str) -> None:
    """Name the vertical axis, and make it logarithmic where positive values span two decades."""
    axes.set_ylabel(label)
    low, high = np.nanmin(values), np.nanmax(values)
    if low <= 0 or high / low < 100:
        return
    axes.set_yscale("log")
    # Not matplotlib's own labels: they are formulas, and loading its formula parser takes longer than the plot.
    axes.yaxis.set_major_formatter(_ticks.plain if low >= 1e-5 and high <= 1e5 else _ticks.power)
    axes.yaxis.set_minor_formatter(_ticks.nothing)
    axes.set_ylabel(f"{label} (logarithmic)")
    if high / low > 1000:
        axes.minorticks_off()  # eight for every decade, and matplotlib is slow to make them


def steps_axis(axes: "Axes", last: float) -> None:
    """Let the horizontal axis go from 0 to the last optimizer step."""
    axes.set_xlabel("optimizer steps")
    axes.set_xlim(0, last * 1.02)
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter(_ticks.whole)


def marker(steps: Numbers) -> str:
    """Return the mark of single points; "" for many, which a line shows."""
    return "o" if len(steps) <= 40 else ""


def thinned(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of every few steps: no spike is lost."""
    if len(steps) <= MOST:
        return steps, values
    firsts = starts(len(steps), MOST // 2)
    extremes = np.stack([np.fmin.reduceat(values, firsts), np.fmax.reduceat(values, firsts)], axis=1)
    return steps[firsts].repeat(2), extremes.reshape(-1)


def starts(total: int, parts: int) -> NDArray[np.int64]:
    """Return where each of so many parts of `total` points begins."""
    return np.arange(parts) * total // parts
