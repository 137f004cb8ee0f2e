"""The data as points and the model as a red line: for one number in and one number out."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.plots import Subject, _style
from runner.plots._parts import lacks_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 500  # of the line
MOST = 2000  # points of data that can be told apart


def problem(data: Data, model: nn.Module) -> str | None:
    """It takes numbers to predict, one from one."""
    x, y = data.train[0]
    if lacks := lacks_numbers(data):
        return lacks
    if x.numel() != 1 or y.numel() != 1:
        return f"it needs one number in and one out per example, and the data has {x.numel()} in and {y.numel()} out"
    return None if x.is_floating_point() else "it needs an input of numbers, and the data has indices"


def draw(run: Subject) -> "Figure":
    """Training and validation data, and the model's output on evenly spaced inputs between their ends."""
    figure = _style.page("Fit", run.name)
    axes = _style.axes(figure)
    notes = run.data.notes
    axes.set_xlabel(_style.literal(_words(notes.get("features", ["x"])[0], "mean" in notes)))
    axes.set_ylabel(_style.literal(str(notes.get("target", "y"))))
    x = [_scatter(axes, run, "train", color=_style.BLUE, marker="o", s=14, alpha=0.6, linewidths=0)]
    if run.data.valid is not None:
        x.append(_scatter(axes, run, "valid", marker="^", s=20, facecolors="none", edgecolors="black", linewidths=0.8))
    _draw_line(axes, run, torch.cat(x))
    _style.legend(axes)
    return figure


def _words(feature: Any, standardized: bool) -> str:
    return f"{feature} (standardized)" if standardized else str(feature)


def _scatter(axes: "Axes", run: Subject, part: str, **look: Any) -> Tensor:
    """Draw the points and return their x, in the shape that the model takes."""
    x, y, _ = run.predict(getattr(run.data, part))
    shown = torch.linspace(0, len(x) - 1, min(len(x), MOST)).round().long()
    label = part if len(shown) == len(x) else f"{part} ({len(shown):,} of {len(x):,} points)"
    axes.scatter(x.flatten()[shown].numpy(), y.flatten()[shown].numpy(), label=label, **look)
    return x


def _draw_line(axes: "Axes", run: Subject, x: Tensor) -> None:
    dense = torch.linspace(float(x.min()), float(x.max()), POINTS, dtype=x.dtype).reshape(POINTS, *x.shape[1:])
    _, _, outputs = run.predict(Tensors(dense, torch.zeros(POINTS, 1)))
    line = outputs.flatten().numpy()
    finite = outputs.isfinite().all()
    axes.plot(dense.flatten().numpy(), line, color=_style.RED, linewidth=2.2, label="model", zorder=4)
    if not finite:
        axes.set_title("the model's output is not finite", fontsize=9, color=_style.RED, loc="left")
