"""Arguments of a metric that its class for the data's task does not read: torchmetrics drops them without a word."""

import copy
from typing import Any

import torch
from torch import Tensor

from runner.settings.errors import ConfigError
from runner.settings.values import lookup

#: Arguments of torchmetrics.Metric, which any class hands on, and the task, by which it is chosen.
OF_ALL = {
    "task", "compute_on_cpu", "compute_with_cache", "dist_sync_fn", "dist_sync_on_step", "distributed_available_fn",
    "process_group", "sync_on_compute",
}  # fmt: skip


def read_all(built: Any, target: Any, arguments: dict[str, Any], given: dict[str, Any], task: str, key: str) -> Any:
    """Return a metric that reads each of its arguments.

    built: target(**arguments). given: the arguments that the configuration has. task: of the data. key: of the metric.
    Of two classes, `average`, `top_k` and `num_classes` are read by the metric of several: its scores are then the
    probabilities of both. Raises ConfigError for an argument that is not read there either.

        read_all(Accuracy(task="binary", average="macro"), Accuracy, ...)  # the mean of the accuracies of two classes
    """
    if type(built) is target:  # which has bound them
        return built
    unread = _unread(built, given)
    if task == "binary" and (unread or type(built).__name__.startswith("Multiclass")):
        built = _of_both(target(**{"num_classes": 2, **arguments, "task": "multiclass"}))
        unread = _unread(built, given)
    if unread:
        kind: Any = type(built)
        takes = [name for name in lookup.parameters(kind) if name not in ("args", "kwargs", "validate_args")]
        of = "two classes with average or top_k" if task == "binary" else f"{task} data"
        raise ConfigError(
            f"{key}.{target.__name__}.{unread[0]}",
            f"is not read by {target.__name__} of {of}; leave it out (it takes {', '.join(takes)})",
        )
    return built


def _unread(metric: Any, given: dict[str, Any]) -> list[str]:
    """Return the arguments that a metric's class has not."""
    kind: Any = type(metric)
    return [name for name in given if name not in OF_ALL | lookup.parameters(kind).keys()]


def _of_both(metric: Any) -> Any:
    """Return a metric of several classes that takes the probability of the second of two."""
    kind = type(metric)

    def update(self: Any, preds: Tensor, target: Tensor) -> None:
        kind.update(self, torch.stack([1 - preds, preds], 1), target)

    metric.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, "update": update})
    return copy.deepcopy(metric)  # whose `update` is that of its class
