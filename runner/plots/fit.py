"""The data as points and the model as a red line: for one number in and one number out."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model.conventions import on_scale
from runner.plots import Subject, _style
from runner.plots._data import lacks_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = (("train",), ("valid",))
POINTS = 500  # of the line
MOST = 2000  # points of data that can be seen one by one


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs numbers to predict, one from one."""
    x, y = data.train[0]
    if lacks := lacks_numbers(data):
        return lacks
    if x.numel() != 1 or y.numel() != 1:
        return f"it needs one number in and one out per example, and the data has {x.numel()} in and {y.numel()} out"
    return None if x.is_floating_point() else "it needs an input of numbers, and the data has indices"


def draw(run: Subject) -> "Figure":
    """Draw training and validation data, and the model's output on evenly spaced inputs between their ends."""
    points = {part: run.predict(getattr(run.data, part)) for part in ("train", "valid") if getattr(run.data, part)}
    dense, outputs = _line(run, torch.cat([x for x, _, _ in points.values()]))
    note = "" if outputs.isfinite().all() else "the model's output is not finite"
    figure = _style.page("Fit: the data and the model", run.title, note=note)
    axes = _style.axes(figure)
    notes = run.data.notes
    axes.set_xlabel(_style.literal(_words(notes.get("features", ["x"])[0], "mean" in notes)))
    axes.set_ylabel(_style.literal(str(notes.get("target", "y"))))
    _draw_points(axes, *points["train"][:2], "train", color=_style.BLUE, marker="o", linewidths=0)
    if "valid" in points:
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "marker": "^", "linewidths": 0.8}
        _draw_points(axes, *points["valid"][:2], "valid", **style)
    axes.plot(dense.flatten().numpy(), outputs.flatten().numpy(), color=_style.RED, linewidth=2, label="model")
    _style.legend(axes)
    return figure


def _words(feature: Any, standardized: bool) -> str:
    return f"{feature} (standardized)" if standardized else str(feature)


def _line(run: Subject, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return evenly spaced inputs from the smallest to the largest x, and the model's outputs."""
    low, high = float(x.min()), float(x.max())
    edge = 0.5 if low == high else 0.0
    dense = torch.linspace(low - edge, high + edge, POINTS, dtype=x.dtype).reshape(POINTS, *x.shape[1:])
    return dense, on_scale(run.loss, run.predict(Tensors(dense, torch.zeros(POINTS, 1)))[2])


def _draw_points(axes: "Axes", x: Tensor, y: Tensor, part: str, **style: Any) -> None:
    shown = torch.linspace(0, len(x) - 1, min(len(x), MOST)).round().long()
    label = part if len(shown) == len(x) else f"{part} ({len(shown):,} of {len(x):,} points)"
    size, alpha = (16, 0.7) if len(shown) <= 500 else (7, 0.4)
    axes.scatter(x.flatten()[shown].numpy(), y.flatten()[shown].numpy(), s=size, alpha=alpha, label=label, **style)
