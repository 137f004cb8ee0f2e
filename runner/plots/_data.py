"""The data of a plot: the part that it shows, the requirements, and the classes that the model predicts."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Source, labels_of
from runner.model import shapes
from runner.model.predicted import probabilities
from runner.plots import Subject

WORDS = {"train": "training", "valid": "validation", "test": "test"}


def first_of(data: Data, *parts: str) -> tuple[str, Source]:
    """Return the first of these parts that the data has: its word for a title, and itself."""
    part = next(part for part in parts if getattr(data, part) is not None)
    return WORDS[part], getattr(data, part)


def lacks_classes(data: Data, places: bool = False) -> str | None:
    """Return why a plot of classes is not possible; None where it is. places: it shows classes of places too."""
    if data.task == "regression":
        return "it needs classes, and the data has numbers to predict"
    several = data.train[0][1].numel()
    if data.task == "multilabel":
        return f"it needs one class per example, and the data has {several} labels per example"
    if several == len(data.classes) and data.train[0][1].is_floating_point():  # their probabilities
        return None
    if places and (data.task == "binary" or not data.train[0][1].is_floating_point()):
        return None
    return None if several == 1 else f"it needs one class per example, and the data has {several} per example"


def outputs_of(data: Data, model: nn.Module) -> int | None:
    """Return how many numbers a planned model gives for an example or a place of it; None where that is unknown."""
    x = data.train[0][0]
    if not isinstance(x, Tensor):
        return None
    output: Any = torch.empty((2, *x.shape), dtype=x.dtype, device="meta")
    with contextlib.suppress(Exception), torch.no_grad():  # the checks of the model report what is wrong with it
        for layer in model.children():
            output = shapes.push(layer, output)
        return output.shape[1] if isinstance(output, Tensor) and output.dim() > 1 else None
    return None


def lacks_numbers(data: Data) -> str | None:
    """Return why a plot of numbers is not possible; None where it is."""
    if data.task != "regression":
        return "it needs numbers to predict, and the data has classes"
    return None if data.train[0][1].numel() else "it needs numbers to predict, and the data has none"


@dataclass(frozen=True)
class Classified:
    """Examples whose outputs are finite, in their order; without those of no class, such as -100 for padding.

    Where each place of an example has a class, as each pixel of an image, they are the places of all examples in turn.
    """

    index: Tensor  # int64 of shape (n,): their numbers in the source
    truth: Tensor  # int64 of shape (n,)
    predicted: Tensor  # int64 of shape (n,)
    confidence: Tensor  # of shape (n,): the probability of the predicted class
    classes: int  # at least 2
    not_finite: int  # examples left out because the model's output is not finite


def classify(run: Subject, source: Source) -> Classified:
    """Return the class and the confidence that the model predicts for every example of `source`, or for every place.

    Its outputs are of shape (N, classes, ...), or of shape (N, 1, ...) or (N,) for two classes.
    """
    y, outputs = run.outputs(source)
    flat = outputs.float().reshape(len(outputs), -1)
    if outputs.dim() > 2 and y[0].numel() != 1 and y.numel() * outputs.shape[1] == outputs.numel():
        flat = outputs.float().movedim(1, -1).reshape(-1, outputs.shape[1])
    task = "binary" if flat.shape[1] == 1 else run.data.task
    loss = getattr(run.loss, "loss", run.loss)  # a loss that leaves examples out holds torch's own
    shares = probabilities(run.model, loss, flat, task)
    labels = labels_of(y, run.data.task).reshape(-1)
    counts = labels != run.data.ignored if run.data.ignored is not None else torch.ones_like(labels, dtype=torch.bool)
    finite = shares.isfinite().all(1)
    [index] = torch.where(finite & counts)
    truth, (confidence, predicted) = labels[index], shares[index].max(1)
    classes = max(shares.shape[1], len(run.data.classes), int(truth.max()) + 1 if len(truth) else 0)
    return Classified(index, truth, predicted, confidence, classes, int((counts & ~finite).sum()))


def class_names(data: Data, classes: int) -> list[str]:
    """Return the classes' names; their numbers where the data has none."""
    return [data.classes[k] if k < len(data.classes) else str(k) for k in range(classes)]
