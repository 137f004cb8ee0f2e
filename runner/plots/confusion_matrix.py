"""The confusion matrix: how often each class was taken for each other."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.plots import Subject, _style, _ticks
from runner.plots._data import Classified, class_names, classify, first_of, lacks_classes, outputs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

PARTS = (("valid", "train"),)
#: Parts of an example that it shows, each one tensor: inputs may be several.
SHOWS = ("target", "output")
OUTPUTS = True  # it needs as many as there are classes, which a loss may have asked for before
MOST = 2000  # classes: a count for each pair of 200,000 would take 300 GB
COUNTED = 30  # more classes than this leave no room for counts
LABEL = 1.3  # inches that a class's name may take
TOP, RIGHT = 0.8, 1.0  # inches above the matrix, and beside it for the colour bar


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs classes of examples or of their places, at most 2,000."""
    if reason := lacks_classes(data, places=True):
        return reason
    total, outputs = len(data.classes), outputs_of(data, model) if data.classes else None
    if total > MOST:
        return f"it shows at most {MOST:,} classes, and the data has {total:,}"
    if outputs not in (None, total) and (outputs, total) != (1, 2):
        return f"the model gives {outputs} numbers, and the data has {total} classes; let it give {total}"
    return None


def draw(run: Subject) -> "Figure":
    """Draw counts over the validation data, or the training data; coloured by their share of the true class."""
    words, source = first_of(run.data, *PARTS[0])
    classified = classify(run, source)
    side = min(5.2, max(3.0, 0.43 * classified.classes))
    size = max(6.0, min(9.0, 0.75 * 72 * side / classified.classes))
    every = -(-classified.classes * 7 // int(side * 72))  # names closer than 7 points would run into each other
    names = [_style.fitted(name, LABEL, size) for name in class_names(run.data, classified.classes)][::every]
    widest = max(_style.measure(name, size) for name in names)
    upright = widest > 0.9 * every * side / classified.classes
    below = 0.55 + (widest if upright else size / 72)
    figure = _style.page(
        _title(words, classified), run.title, TOP + side + below, _style.not_finite(classified.not_finite, "output")
    )
    left = (_style.WIDTH - side) / 2
    axes = _style.axes(figure, left, _style.WIDTH - left - side, below, TOP)
    counts = matrix(classified.truth, classified.predicted, classified.classes)
    image = _draw_shares(axes, counts)
    axes.set_xticks(range(0, classified.classes, every), names, rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(range(0, classified.classes, every), names, fontsize=size)
    _draw_counts(axes, counts, side / classified.classes)
    _draw_bar(axes, image, left + side)
    return figure


def matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return counts of shape (classes, classes): row the true class, column the predicted one.

    truth, predicted: class indices, int64 of shape (n,).
    """
    return torch.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _title(words: str, classified: Classified) -> str:
    total, right = len(classified.truth), int((classified.truth == classified.predicted).sum())
    return f"Confusion matrix: {words} data" + (f", {100 * right / total:.1f} % of {total:,} right" if total else "")


def _draw_shares(axes: "Axes", counts: Tensor) -> "AxesImage":
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return axes.imshow(shares.numpy(), cmap=_style.SHARES, vmin=0, vmax=1, interpolation="nearest", aspect="auto")


def _draw_counts(axes: "Axes", counts: Tensor, cell: float) -> None:
    """Write the counts that are not 0 into cells of `cell` inches."""
    if len(counts) > COUNTED:
        return
    digits = len(f"{int(counts.max()):,}")
    size = min(11.0, 0.55 * 72 * cell, 0.85 * 72 * cell / (0.64 * digits))
    totals = counts.sum(1).tolist()
    for row, column in counts.nonzero().tolist():
        count = int(counts[row, column])
        colour = "black" if count / totals[row] > 0.5 else "white"
        axes.text(column, row, f"{count:,}", color=colour, fontsize=size, ha="center", va="center")


def _draw_bar(axes: "Axes", image: "AxesImage", left: float) -> None:
    figure = axes.figure
    box = axes.get_position()
    place = figure.add_axes(((left + 0.2) / _style.WIDTH, box.y0, 0.15 / _style.WIDTH, box.height))
    bar = axes.figure.colorbar(image, cax=place, format=_ticks.percent)
    bar.set_label("share of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
