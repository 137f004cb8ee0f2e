"""The losses of a test of learning rates over the rates, and the one that it suggests."""

from typing import TYPE_CHECKING, Any

import numpy as np

from runner.plots import _style, _ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(found: dict[str, Any], name: str) -> "Figure":
    """Draw the loss of each step and the smoothed one over the learning rate.

    found: of `runner.training.debugging.rates.found`. name: of the run. Losses beyond twice the first, where a training
    diverges, are cut off.
    """
    suggestion = found["suggestion"]
    note = "the loss does not fall" if suggestion is None else f"steepest at {suggestion:.2g}"
    figure = _style.page("Learning rates", name, note=note)
    axes = _style.axes(figure)
    rates = np.array(found["rates"])
    losses = np.array([np.nan if loss is None else loss for loss in found["losses"]], dtype=float)
    smooth = np.array(found["smoothed"])
    axes.plot(rates, losses, color=_style.PALE, linewidth=1.2, label="each step")
    axes.plot(rates[: len(smooth)], smooth, color=_style.BLUE, linewidth=1.8, label="smoothed")
    if suggestion is not None:
        value = smooth[list(found["rates"]).index(suggestion)]
        axes.plot([suggestion], [value], "o", color=_style.ORANGE, label=f"suggestion {suggestion:.2g}")
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    top = min(high, low + 2 * max(smooth[0] - low, 1e-12)) if len(smooth) and smooth[0] > low else high
    axes.set_ylim(low - 0.05 * (top - low), top + 0.05 * (top - low))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_ticks.power)
    axes.xaxis.set_minor_formatter(_ticks.nothing)
    axes.set(xlabel="learning rate (logarithmic)", ylabel="loss")
    _style.legend(axes)
    return figure
