"""The learning rates: that of the optimizer, and those of its groups or of several optimizers."""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from runner.data import Data
from runner.plots import Subject, _curves, _style
from runner.plots._curves import Numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Numbers, Numbers]
#: Parts of an example that it shows: none, so that any data and model will do.
SHOWS = ()
BESIDE = 2.1  # inches for the names of several rates
STYLES = tuple(product(("-", "--", ":"), _style.COLOURS))


def problem(data: Data, model: nn.Module) -> str | None:
    """Return None: there is always a learning rate."""
    return None


def draw(run: Subject) -> "Figure":
    """Draw `lr` and every `lr/<name>`, as recorded at validations; logarithmic when they span two decades.

    Rates that are always equal are one line with all their names. Of more than 18 lines the first are drawn, and the
    others counted.
    """
    rates = _together({name: _curves.series(run, name) for name in run.history if name.partition("/")[0] == "lr"})
    left_out = len(rates) - len(STYLES)
    note = f"{_style.counted(left_out, 'rate')} more" if left_out > 0 else ""
    several = len(rates) > 1
    figure = _style.page("Learning rate", run.name, note=note)
    axes = _style.axes(figure, right=BESIDE) if several else _style.axes(figure)
    if not rates:
        axes.set(xlabel="optimizer steps", ylabel="learning rate")
        _style.write_centred(axes, "no learning rate was recorded")
        return figure
    _curves.scale(axes, np.concatenate([values for _, values in rates.values()]), "learning rate")
    for (name, (steps, values)), (line, colour) in zip(rates.items(), STYLES, strict=False):
        axes.plot(
            *_curves.thinned(steps, values), color=colour, linestyle=line, linewidth=1.4, marker=_curves.marker(steps),
            markersize=4, label=name,
        )  # fmt: skip
    _curves.steps_axis(axes, max(steps[-1] for steps, _ in rates.values()))
    if several:
        _style.legend_beside(axes, BESIDE)
    else:
        _style.legend(axes)
    return figure


def _together(rates: dict[str, Curve]) -> dict[str, Curve]:
    """Return each curve once, by the names of all rates that it shows."""
    curves: dict[str, Curve] = {}
    for name, rate in rates.items():
        same = next((names for names, curve in curves.items() if _curves.equal(curve, rate)), None)
        curves = {f"{names} = {name}" if names == same else names: curve for names, curve in curves.items()}
        if same is None:
            curves[name] = rate
    return curves
