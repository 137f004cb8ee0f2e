"""The training loss of every optimizer step and the validation loss, on one axis of steps."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from runner.data import Data
from runner.plots import Subject, _style, _ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
#: False: it shows no examples, so that any data and model will do.
SHOWS = False
MOST = 2000  # points that a line of 960 pixels can show
#: Of the training, beside further losses: the step's, and that of all training data.
USUAL = ("train/loss", "train/eval_loss")
COLOURS = (_style.GREEN, _style.BLACK, _style.ORANGE)  # of further losses; more than three are not drawn
WINDOWS = 100  # of the mean drawn over a line that has more than MOST / 2 points


def problem(data: Data, model: nn.Module) -> str | None:
    """Return None: there is always a loss."""
    return None


def draw(run: Subject) -> "Figure":
    """Draw train/loss and valid/loss, logarithmic when they span two decades; those that are not finite are counted.

    Further losses, as of a step of one's own or the parts of a loss, are drawn as well: train/discriminator and the
    like; those of validation are dashed.
    """
    train, valid = _series(run, "train/loss"), _series(run, "valid/loss")
    others = {name: _series(run, name) for name in run.history if name.startswith("train/") and name not in USUAL}
    figure = _style.page("Loss", run.name, note=_not_finite(train, valid, *others.values()))
    axes = _style.axes(figure)
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("loss")
    if not any(np.isfinite(values).any() for _, values in (train, valid)):
        _style.write_centred(axes, "no finite loss was recorded")
        return figure
    _scale(axes, np.concatenate([train[1], valid[1], *(values for _, values in others.values())]))
    _draw_train(axes, *train)
    for (name, series), colour in zip(others.items(), COLOURS, strict=False):
        points = _means(*series) if len(series[0]) > MOST / 2 else series
        axes.plot(*points, color=colour, linewidth=1.4, label=name.removeprefix("train/"))
        valid_points = _series(run, f"valid/{name.removeprefix('train/')}")
        axes.plot(
            *_thinned(*valid_points), color=colour, linewidth=1.4, linestyle="--", marker=_marker(valid_points[0])
        )
    _draw_valid(axes, *valid)
    _steps(axes, max(steps[-1] for steps, _ in (train, valid) if len(steps)))
    _style.legend(axes)
    return figure


def _series(run: Subject, name: str) -> tuple[Numbers, Numbers]:
    """Return steps and values, NaN for all that is not finite or too large to draw."""
    points = run.history.get(name, [])
    columns: Any = points.columns() if hasattr(points, "columns") else tuple(zip(*points, strict=True)) or ([], [])
    steps, values = (np.array(column, dtype=float) for column in columns)
    return steps, np.where(np.abs(values) < 1e300, values, np.nan)


def _not_finite(*series: tuple[Numbers, Numbers]) -> str:
    steps = np.concatenate([steps[np.isnan(values)] for steps, values in series])
    if not len(steps):
        return ""
    return f"{_style.not_finite(len(steps), 'value')}, the first at step {min(steps):,.0f}"


def _scale(axes: "Axes", values: Numbers) -> None:
    low, high = np.nanmin(values), np.nanmax(values)
    if low <= 0 or high / low < 100:
        return
    axes.set_yscale("log")
    # Not matplotlib's own labels: they are formulas, and loading its formula parser takes longer than the plot.
    axes.yaxis.set_major_formatter(_ticks.plain if low >= 1e-5 and high <= 1e5 else _ticks.power)
    axes.yaxis.set_minor_formatter(_ticks.nothing)
    axes.set_ylabel("loss (logarithmic)")
    if high / low > 1000:
        axes.minorticks_off()  # eight for every decade, and matplotlib is slow to make them


def _draw_train(axes: "Axes", steps: Numbers, values: Numbers) -> None:
    if not len(steps):
        return
    many = len(steps) > MOST / 2
    colour, width, alpha = (_style.SKY, 0.6, 0.8) if many else (_style.BLUE, 1.4, 1.0)
    axes.plot(
        *_thinned(steps, values), color=colour, linewidth=width, alpha=alpha, marker=_marker(steps), markersize=4,
        label="train",
    )  # fmt: skip
    if many:
        label = f"mean of {len(steps) // WINDOWS:,} steps"
        axes.plot(*_means(steps, values), color=_style.BLUE, linewidth=1.6, label=label)


def _draw_valid(axes: "Axes", steps: Numbers, values: Numbers) -> None:
    if np.isnan(values).all():
        return
    axes.plot(
        *_thinned(steps, values), color=_style.RED, linewidth=1.4, marker=_marker(steps), markersize=4, label="valid"
    )
    best = int(np.nanargmin(values))
    label = f"best: {_style.number(values[best])} at step {steps[best]:,.0f}"
    axes.plot(
        [steps[best]], [values[best]], "*", markersize=13, color=_style.ORANGE, markeredgecolor="black", label=label,
        markeredgewidth=0.8, zorder=5,
    )  # fmt: skip


def _marker(steps: Numbers) -> str:
    return "o" if len(steps) <= 40 else ""


def _thinned(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of every few steps: no spike is lost."""
    if len(steps) <= MOST:
        return steps, values
    starts = _starts(len(steps), MOST // 2)
    extremes = np.stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)], axis=1)
    return steps[starts].repeat(2), extremes.reshape(-1)


def _means(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    starts = _starts(len(steps), WINDOWS)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(float), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    middles = np.add.reduceat(steps, starts) / np.diff([*starts, len(steps)])
    return middles, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _starts(total: int, parts: int) -> NDArray[np.int64]:
    return np.arange(parts) * total // parts


def _steps(axes: "Axes", last: float) -> None:
    axes.set_xlim(0, last * 1.02)
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter(_ticks.whole)
