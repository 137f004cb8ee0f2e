"""Metrics of torchmetrics by name, told the task and the classes of the data."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner import host, lookup
from runner.data import Data, labels_of
from runner.errors import ConfigError, Problems
from runner.lookup import Kind

#: What the data can tell a metric.
FROM_DATA = ("task", "num_classes", "num_labels")


def _is_metric(value: Any) -> bool:
    import torchmetrics

    return isinstance(value, type) and issubclass(value, torchmetrics.Metric) and value is not torchmetrics.Metric


METRIC = Kind("a metric", ("torchmetrics",), _is_metric)


def build(specs: list[Any], data: Data, loss: nn.Module) -> dict[str, Any]:
    """The metrics by name, on the CPU. Raises ConfigError for one that the task cannot have."""
    made: dict[str, Any] = {}
    keys: dict[str, str] = {}
    problems = Problems()
    for i, spec in enumerate(specs):
        with problems.noted():
            name, metric = _build(spec, f"metrics[{i}]", data)
            if name in made:
                raise ConfigError(
                    f"metrics[{i}]",
                    f"{name} stands there already, and both would be recorded under one name; leave it out",
                )
            made[name], keys[name] = metric, f"metrics[{i}]"
    for name, metric in made.items():
        with problems.noted():
            _check_fits(name, metric, keys[name], data, loss)
    problems.tell()
    return made


def check(specs: list[Any]) -> None:
    """What can be said of metrics without data: their names."""
    problems = Problems()
    for i, spec in enumerate(specs):
        with problems.noted():
            lookup.find(_read(spec, f"metrics[{i}]")[0], METRIC, f"metrics[{i}]")
    problems.tell()


def _build(spec: Any, key: str, data: Data) -> tuple[str, Any]:
    name, arguments = _read(spec, key)
    found = lookup.find(name, METRIC, key)
    arguments = {**_from_data(found, data, arguments, key), **arguments}
    try:
        return name.rpartition(".")[2], found(**arguments)
    except Exception as error:  # a metric of another package, which need not be installed, raises what it likes
        message = str(error).strip().split("\n")[0]
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {message}") from error


def watch(metrics: dict[str, Any], data: Data, loss: nn.Module) -> Callable[[Tensor, Tensor], None] | None:
    """What shows every batch's (output, target) to the metrics; None without metrics."""
    if not metrics:
        return None

    def update(output: Tensor, target: Tensor) -> None:
        scores, target = as_scores(output, target, data, loss)
        for metric in metrics.values():
            metric.update(scores, target)

    return update


def as_scores(output: Tensor, target: Tensor, data: Data, loss: nn.Module) -> tuple[Tensor, Tensor]:
    """Probabilities for classes, numbers as they are.

    torchmetrics takes scores that all lie in [0, 1] for probabilities, which logits may happen to do.
    """
    if data.task == "multiclass" or (data.task == "binary" and output.dim() > 1 and output.shape[1] == 2):
        scores = output.softmax(1)
        return (scores if data.task == "multiclass" else scores[:, 1]), labels_of(target, data.task)
    if data.task in ("binary", "multilabel"):
        if isinstance(loss, nn.HingeEmbeddingLoss):  # distances: small ones are of class 1
            output = loss.margin / 2 - output
        scores = output if isinstance(loss, nn.BCELoss) else output.sigmoid()
        labels = labels_of(target, data.task)
        return (scores, labels) if data.task == "multilabel" else (scores.reshape(-1), labels.reshape(-1))
    return output, target


def values(metrics: dict[str, Any]) -> dict[str, float]:
    """What the metrics have come to since the last call; they start anew."""
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        parts = host.numbers(value) if isinstance(value, Tensor) else [float(value)]
        found.update({name: parts[0]} if len(parts) == 1 else {f"{name}_{i}": p for i, p in enumerate(parts)})
        metric.reset()
    return found


def _read(spec: Any, key: str) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, dict) and len(spec) == 1 and "name" not in spec and "_target_" not in spec:
        [(name, arguments)] = spec.items()
        if isinstance(arguments, dict | None):
            return name, dict(arguments or {})
    if isinstance(spec, dict) and spec:
        return lookup.component(spec, key)
    raise ConfigError(key, f"expected a name such as Accuracy, or {{F1Score: {{average: macro}}}}, found {spec!r}")


def _from_data(found: Any, data: Data, given: dict[str, Any], key: str) -> dict[str, Any]:
    takes = lookup.parameters(found.__new__ if "task" in lookup.parameters(found.__new__) else found)
    told: dict[str, Any] = {"task": data.task, "num_classes": len(data.classes)}
    if data.task == "regression":
        told = {}
    elif data.task == "binary":
        told.pop("num_classes")
    elif data.task == "multilabel":
        told["num_labels"] = told.pop("num_classes")
    lookup.bind(_named(found, takes), given, f"{key}.{found.__name__}", free=[*FROM_DATA, *takes])
    if "task" in takes and data.task == "regression":
        raise ConfigError(
            key,
            f"{found.__name__} needs classes, and the data has numbers to predict; try MeanAbsoluteError or R2Score",
        )
    return {name: value for name, value in told.items() if name in takes}


def _named(found: Any, takes: dict[str, Any]) -> Any:
    return found.__new__ if "task" in takes else found


def _check_fits(name: str, metric: Any, key: str, data: Data, loss: nn.Module) -> None:
    """A metric that wants numbers, on data with classes, would fail only after the first epoch."""
    if data.task == "regression":
        target: Tensor = torch.rand(4, 1)
        output: Tensor = torch.rand(4, 1)
    elif data.task == "multilabel":
        target = torch.arange(len(data.classes)).repeat(4, 1) % 2
        output = torch.rand(target.shape)
    else:
        classes = max(len(data.classes), 2)
        target = torch.arange(classes).repeat(2)
        output = torch.rand(len(target), classes if data.task == "multiclass" else 1)
    try:
        metric.update(*as_scores(output, target, data, loss))
        values({name: metric})
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {message}") from error
    metric.reset()
