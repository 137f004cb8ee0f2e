"""Metric values: metrics are shown batches of outputs and targets, and give numbers."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from runner.data import Data, labels_of
from runner.model import host
from runner.model.conventions import chances, on_scale, shares


def watch(
    metrics: dict[str, Any], data: Data, loss: nn.Module, model: nn.Module | None = None
) -> Callable[[Tensor, Tensor], None] | None:
    """Return a function of a batch's output and targets that updates all metrics; None without metrics.

    metrics: by name, on the device of the batches. model: see `as_scores`.
    """
    if not metrics:
        return None

    def update(output: Tensor, target: Tensor) -> None:
        scores, target = as_scores(output, target, data, loss, model)
        for metric in metrics.values():
            metric.update(scores, target)

    return update


def as_scores(
    output: Tensor, target: Tensor, data: Data, loss: nn.Module, model: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """Return scores and targets as torchmetrics takes them.

    For classes, scores are probabilities and targets class indices; for numbers, both stay, but the exponential of
    outputs that are logarithms is taken. These are the values that `predict` writes. Logits are not passed on, because
    torchmetrics takes any that happen to lie in [0, 1] for probabilities.
    model: its last layer may give probabilities already.
    """
    if data.task == "multiclass" or (data.task == "binary" and output.dim() > 1 and output.shape[1] == 2):
        scores = shares(model, output)
        return (scores if data.task == "multiclass" else scores[:, 1]), labels_of(target, data.task)
    if data.task in ("binary", "multilabel"):
        scores = chances(model, loss, output)
        labels = labels_of(target, data.task)
        return (scores, labels) if data.task == "multilabel" else (scores.reshape(-1), labels.reshape(-1))
    return on_scale(loss, output), target


def names_of(data: Data) -> list[str]:
    """Return the names of the columns, labels or classes of the targets, as a metric's name may hold them."""
    names = [re.sub(r"[^\w\-. ]", "_", str(name)) for name in data.classes or data.notes.get("targets", ())]
    return names if len(set(names)) == len(names) else []


def values(metrics: dict[str, Any], names: Sequence[str] = ()) -> dict[str, float]:
    """Return the metric values since the last call by name, and reset the metrics.

    A metric of several numbers gives name_0, name_1 and so on, or name_a, name_b where `names` are as many.
    Raises TypeError for one that gives no numbers.
    """
    numbers: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        if not isinstance(value, Tensor | float | int):
            raise TypeError(f"it gives a {type(value).__name__}, such as a curve; what is recorded is numbers")
        parts = host.numbers(value) if isinstance(value, Tensor) else [float(value)]
        ends = names if len(names) == len(parts) else range(len(parts))
        numbers.update(
            {name: parts[0]} if len(parts) == 1 else {f"{name}_{i}": p for i, p in zip(ends, parts, strict=True)}
        )
        metric.reset()
    return numbers
