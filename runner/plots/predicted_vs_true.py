"""Predicted against true values: a perfect model's points lie on the diagonal."""

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
MOST = 5000  # points


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs numbers to predict."""
    return lacks_numbers(data)


def draw(run: Subject) -> "Figure":
    """Draw the validation data, or the training data where there is none; several outputs are drawn alike."""
    words, source = first_of(run.data, *PARTS[0])
    y, outputs = run.outputs(source)
    outputs = on_scale(run.loss, outputs.double())
    truth, predicted = y.double().reshape(len(y), -1), outputs.reshape(len(y), -1)
    finite = predicted.isfinite().all(1)
    title = f"Predicted and true: {words} data{_words(truth[finite], predicted[finite])}"
    figure = _style.page(title, run.title, 6.6, _style.not_finite(int((~finite).sum()), "output"))
    axes = _style.axes(figure, left=1.6, right=1.4, bottom=0.65, top=0.95)  # leaves a square
    target = _style.literal(str(run.data.notes.get("target", "value")))
    axes.set_xlabel(f"true {target}")
    axes.set_ylabel(f"predicted {target}")
    if finite.any():
        _draw_points(axes, truth[finite], predicted[finite])
    else:
        _style.write_centred(axes, "no output is finite")
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
    rmse, r2 = scores(truth, predicted)
    return f", RMSE {_style.number(rmse)}, R² {'undefined' if r2 is None else f'{r2:.3f}'.replace('-', _style.MINUS)}"


def _draw_points(axes: "Axes", truth: Tensor, predicted: Tensor) -> None:
    low, high = _limits(torch.cat([truth, predicted]))
    axes.plot([low, high], [low, high], color=_style.GREY, linewidth=1, linestyle="--", label="predicted = true")
    shown = torch.linspace(0, truth.numel() - 1, min(truth.numel(), MOST)).round().long()
    label = "" if len(shown) == truth.numel() else f"{len(shown):,} of {truth.numel():,} values"
    x, y = truth.flatten()[shown].numpy(), predicted.flatten()[shown].numpy()
    axes.scatter(x, y, s=18, color=_style.BLUE, alpha=0.6, linewidths=0, label=label or "examples")
    axes.set(xlim=(low, high), ylim=(low, high))
    _style.legend(axes)


def _limits(values: Tensor) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    edge = 0.04 * (high - low) or max(abs(low), 1.0) * 0.1
    return low - edge, high + edge
