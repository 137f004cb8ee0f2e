"""The training loss of every optimizer step and the validation loss, on one axis of steps."""

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from runner.data import Data
from runner.plots import Subject, _curves, _style
from runner.plots._curves import MOST, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Parts of an example that it shows: none, so that any data and model will do.
SHOWS = ()
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
    like; those of validation are dashed. Metrics of training batches are not drawn. A loss that is the run's loss
    everywhere is named beside it.
    """
    train, valid = _curves.series(run, "train/loss"), _curves.series(run, "valid/loss")
    names = [name.removeprefix("train/") for name in run.history if name.startswith("train/") and name not in USUAL]
    names = [name for name in names if not _is_metric(run, name)]
    others = {name: _curves.series(run, f"train/{name}") for name in names}
    same = [name for name in names if _is_loss(run, name)]
    figure = _style.page("Loss", run.name, note=_not_finite(train, valid, *others.values()))
    axes = _style.axes(figure)
    if not any(np.isfinite(values).any() for _, values in (train, valid)):
        axes.set(xlabel="optimizer steps", ylabel="loss")
        _style.write_centred(axes, "no finite loss was recorded")
        return figure
    _curves.scale(axes, np.concatenate([train[1], valid[1], *(values for _, values in others.values())]), "loss")
    _draw_train(axes, *train, " = ".join(("train", *same)))
    apart = [name for name in names if name not in same]
    for name, colour in zip(apart, COLOURS, strict=False):
        steps, values = others[name]
        axes.plot(
            *(_means(steps, values) if len(steps) > MOST / 2 else (steps, values)),
            color=colour, linewidth=1.4, label=name,
        )  # fmt: skip
        steps, values = _curves.series(run, f"valid/{name}")
        axes.plot(
            *_curves.thinned(steps, values), color=colour, linewidth=1.4, linestyle="--", marker=_curves.marker(steps)
        )
    _draw_valid(axes, *valid)
    _curves.steps_axis(axes, max(steps[-1] for steps, _ in (train, valid) if len(steps)))
    _style.legend(axes)
    return figure


def _is_metric(run: Subject, name: str) -> bool:
    """Return whether this is no loss but a metric of training batches, or one of its several values."""
    return name in run.metrics or name.startswith(tuple(f"{metric}_" for metric in run.metrics))


def _is_loss(run: Subject, name: str) -> bool:
    """Return whether a further loss is the loss itself, in training and wherever else it is measured."""
    parts = [part for part in ("train", "valid") if f"{part}/{name}" in run.history]
    return all(
        _curves.equal(_curves.series(run, f"{part}/{name}"), _curves.series(run, f"{part}/loss")) for part in parts
    )


def _not_finite(*series: tuple[Numbers, Numbers]) -> str:
    steps = np.concatenate([steps[np.isnan(values)] for steps, values in series])
    if not len(steps):
        return ""
    return f"{_style.not_finite(len(steps), 'value')}, the first at step {min(steps):,.0f}"


def _draw_train(axes: "Axes", steps: Numbers, values: Numbers, label: str) -> None:
    if not len(steps):
        return
    many = len(steps) > MOST / 2
    colour, width, alpha = (_style.SKY, 0.6, 0.8) if many else (_style.BLUE, 1.4, 1.0)
    axes.plot(
        *_curves.thinned(steps, values), color=colour, linewidth=width, alpha=alpha, marker=_curves.marker(steps),
        markersize=4, label=label,
    )  # fmt: skip
    if many:
        label = f"mean of {len(steps) // WINDOWS:,} steps"
        axes.plot(*_means(steps, values), color=_style.BLUE, linewidth=1.6, label=label)


def _draw_valid(axes: "Axes", steps: Numbers, values: Numbers) -> None:
    if np.isnan(values).all():
        return
    axes.plot(
        *_curves.thinned(steps, values), color=_style.RED, linewidth=1.4, marker=_curves.marker(steps), markersize=4,
        label="valid",
    )  # fmt: skip
    best = int(np.nanargmin(values))
    label = f"best: {_style.number(values[best])} at step {steps[best]:,.0f}"
    axes.plot(
        [steps[best]], [values[best]], "*", markersize=13, color=_style.ORANGE, markeredgecolor="black", label=label,
        markeredgewidth=0.8, zorder=5,
    )  # fmt: skip


def _means(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    starts = _curves.starts(len(steps), WINDOWS)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(float), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    middles = np.add.reduceat(steps, starts) / np.diff([*starts, len(steps)])
    return middles, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
