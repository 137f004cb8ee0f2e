"""Predicted against true values: a perfect model's points lie on the diagonal."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.model.conventions import on_scale
from runner.plots import Subject, _style
from runner.plots._data import first_of, lacks_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = (("valid", "train"),)
#: Parts of an example that it shows, each one tensor: inputs may be several.
SHOWS = ("target", "output")
MOST = 5000  # points
SIDE = 5.0  # of the square, in inches
BESIDE = 2.1  # inches for the names and scores of several outputs


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs numbers to predict."""
    return lacks_numbers(data)


def draw(run: Subject) -> "Figure":
    """Draw the validation data, or the training data where there is none; up to six outputs, each in its colour."""
    words, source = first_of(run.data, *PARTS[0])
    y, outputs = run.outputs(source)
    outputs = on_scale(run.loss, outputs.double())
    truth, predicted = y.double().reshape(len(y), -1), outputs.reshape(len(y), -1)
    finite = predicted.isfinite().all(1)
    truth, predicted = truth[finite], predicted[finite]
    title = f"Predicted and true: {words} data{_words(truth, predicted)}"
    figure = _style.page(title, run.title, 6.6, _style.not_finite(int((~finite).sum()), "output"))
    apart = 1 < truth.shape[1] <= len(_style.COLOURS)
    left, right = (0.9, BESIDE) if apart else (1.6, 1.4)  # each leaves a square
    axes = _style.axes(figure, left=left, right=right, bottom=0.65, top=0.95)
    target = run.data.notes.get("target", "value")
    axes.set_xlabel(_style.fitted(f"true {target}", SIDE, 10))
    axes.set_ylabel(_style.fitted(f"predicted {target}", SIDE, 10))
    if not finite.any():
        _style.write_centred(axes, "no output is finite")
        return figure
    low, high = _limits(torch.cat([truth, predicted]))
    axes.plot([low, high], [low, high], color=_style.GREY, linewidth=1, linestyle="--", label="predicted = true")
    if apart:
        _draw_each(axes, truth, predicted, _names(run.data, list(y.shape[1:])))
    else:
        _draw_points(axes, truth, predicted, _label(truth), _style.BLUE)
        _style.legend(axes)
    axes.set(xlim=(low, high), ylim=(low, high))
    return figure


def scores(truth: Tensor, predicted: Tensor) -> tuple[float, float | None]:
    """Return the root of the mean squared error, and R², the mean over the outputs of 1 - squared error / variance.

    truth, predicted: of shape (N, outputs). R² is None where the true values do not vary.
    """
    rmse = float((predicted - truth).square().mean().sqrt())
    spread = (truth - truth.mean(0)).square().sum(0)
    if not (spread > 0).all():
        return rmse, None
    return rmse, float((1 - (predicted - truth).square().sum(0) / spread).mean())


def _words(truth: Tensor, predicted: Tensor) -> str:
    if not len(truth):
        return ""
    rmse, r2 = _said(truth, predicted)
    return f", {rmse}, {'mean ' if truth.shape[1] > 1 else ''}{r2}"


def _said(truth: Tensor, predicted: Tensor) -> tuple[str, str]:
    rmse, r2 = scores(truth, predicted)
    words = "undefined" if r2 is None else f"{r2:.3f}".replace("-", _style.MINUS)
    return f"RMSE {_style.number(rmse)}", f"R² {words}"


def _label(truth: Tensor) -> str:
    return "examples" if truth.shape[1] == 1 else f"values of {truth.shape[1]:,} outputs"


def _draw_each(axes: "Axes", truth: Tensor, predicted: Tensor, names: list[str]) -> None:
    """Draw each output in its colour, and beside the axes its name and its scores."""
    for column, (name, colour) in enumerate(zip(names, _style.COLOURS, strict=False)):
        one = truth[:, [column]], predicted[:, [column]]
        _draw_points(axes, *one, "\n".join((name, *_said(*one))), colour, MOST // len(names))
    _style.legend_beside(axes, BESIDE)


def _names(data: Data, shape: list[int]) -> list[str]:
    """Return a name for each output. shape: of the outputs of an example; a series has (steps ahead, columns)."""
    names = [str(name) for name in data.notes.get("targets", ())]
    if "horizon" in data.notes and shape[1:] == [len(names)]:
        names = [f"{name}+{ahead}" for ahead in range(1, shape[0] + 1) for name in names]
    columns = math.prod(shape)
    return names if len(names) == columns else [f"output {column}" for column in range(columns)]


def _draw_points(axes: "Axes", truth: Tensor, predicted: Tensor, label: str, colour: str, most: int = MOST) -> None:
    shown = torch.linspace(0, truth.numel() - 1, min(truth.numel(), most)).round().long()
    if len(shown) < truth.numel():
        counts = f"{len(shown):,} of {truth.numel():,} values"
        label = f"{label}\n{counts}" if "\n" in label else counts
    x, y = truth.flatten()[shown].numpy(), predicted.flatten()[shown].numpy()
    axes.scatter(x, y, s=18, color=colour, alpha=0.6, linewidths=0, label=label)


def _limits(values: Tensor) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    edge = 0.04 * (high - low) or max(abs(low), 1.0) * 0.1
    return low - edge, high + edge
