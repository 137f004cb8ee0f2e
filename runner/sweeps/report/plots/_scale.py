"""Axes of a sweep's plots: logarithmic where the values span decades, with ticks at the swept values."""

from typing import TYPE_CHECKING, Any

import numpy as np

from runner.plots import _style
from runner.sweeps.report.plots._parameters import Parameter, spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 8  # values that get a tick each
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def metric(axes: "Axes", which: str, values: list[float], name: str) -> None:
    """Set up the axis `which` (x | y) for a metric: logarithmic if its values span two decades."""
    log = spans(values)
    limits(axes, which, values, log)
    _axis(axes, which).set_label_text(_style.fitted(name, 3.0, 10) + (" (logarithmic)" if log else ""))


def limits(axes: "Axes", which: str, values: list[float], log: bool) -> None:
    """Set the limits to the smallest and the largest value with a margin; a single value is in the middle."""
    low, high = min(values), max(values)
    setter = axes.set_xlim if which == "x" else axes.set_ylim
    if not log:
        edge = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
        setter(low - edge, high + edge)
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    edge = max((high / low) ** 0.06, 1.05)
    setter(low / edge, high * edge)
    axis = _axis(axes, which)
    # Not matplotlib's own labels: they are formulas, and its formula parser takes longer to load than the plot to draw.
    axis.set_major_formatter(plain if low >= 1e-4 and high <= 1e5 else power)
    axis.set_minor_formatter(lambda value, position: "")
    if high / low > 1e4:
        axis.set_tick_params(which="minor", length=0)


def parameter(axes: "Axes", which: str, of: Parameter, room: float) -> None:
    """Set up the axis `which` (x | y) for a parameter. room: inches along the axis."""
    axis = _axis(axes, which)
    if not of.numeric:
        setter = axes.set_xlim if which == "x" else axes.set_ylim
        setter(-0.5, len(of.values) - 0.5)
        every, upright, names = labels(of.values, room)
        axis.set_ticks(of.places[::every], names, rotation=90 if upright and which == "x" else 0)
        return
    limits(axes, which, of.places, of.log)
    if len(of.values) <= FEW and _apart(of, room, which):
        axis.set_ticks(of.places, [_style.literal(v) for v in of.values])
        axis.set_ticks([], minor=True)
    elif which == "x":
        axes.locator_params(axis="x", nbins=max(2, int(room / 0.6))) if not of.log else None


def labels(values: list[str], room: float, longest: float = 1.2, size: float = 9) -> tuple[int, bool, list[str]]:
    """Return how texts fit along an axis of `room` inches: (label every nth, upright or not, the texts cut to fit)."""
    slot = room / len(values)
    every = max(1, int(np.ceil(0.15 / slot)))
    upright = max(_style.measure(value, size) for value in values) > 0.92 * slot
    wide = longest if upright else slot
    return every, upright, [_style.fitted(value, wide, size) for value in values[::every]]


def plain(value: float, position: Any) -> str:
    """Return a tick label without an exponent."""
    return np.format_float_positional(value, precision=10, trim="-")


def power(value: float, position: Any) -> str:
    """Return a tick label as a power of ten, as in 10⁻³."""
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)


def _apart(of: Parameter, room: float, which: str) -> bool:
    """Return whether labels at all values fit without touching."""
    at = np.log(of.places) if of.log else np.array(of.places)
    gaps = np.diff(at) / ((at[-1] - at[0]) * 1.12) * room
    sizes = np.array([_style.measure(v, 9) if which == "x" else 0.16 for v in of.values])
    return bool((gaps > (sizes[1:] + sizes[:-1]) / 2 + 0.05).all())


def _axis(axes: "Axes", which: str) -> Any:
    return axes.xaxis if which == "x" else axes.yaxis
