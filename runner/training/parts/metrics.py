"""Metrics of torchmetrics by name, told the task and the classes of the data."""

import functools
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Source, Tensors, evaluation_size, labels_of
from runner.model import host
from runner.model.conventions import chances, on_scale, shares, targets_of
from runner.settings.errors import ConfigError, Problems, brief
from runner.settings.values import lookup
from runner.settings.values.lookup import Kind

#: What the data can tell a metric.
FROM_DATA = ("task", "num_classes", "num_labels", "num_outputs", "ignore_index")
#: Rows of a part that a metric is tried on, beside one of each class.
ROWS = 512
#: Torchmetrics' warnings of a number that means nothing, which it gives all the same.
MEANINGLESS = r"No (positive|negative) samples"


def _is_metric(value: Any) -> bool:
    import torchmetrics

    return isinstance(value, type) and issubclass(value, torchmetrics.Metric) and value is not torchmetrics.Metric


METRIC = Kind("a metric", ("torchmetrics",), _is_metric)


@dataclass(frozen=True)
class Metric:
    """A metric's class and the arguments that the settings give it."""

    name: str  # under which it is recorded
    target: Any
    arguments: dict[str, Any]
    key: str


def resolve(specs: list[Any]) -> list[Metric]:
    """Look the metrics' classes up, which needs no data. Raises ConfigErrors with all that are wrong."""
    problems, found = Problems(), []
    for i, spec in enumerate(specs):
        key = f"metrics[{i}]"
        with problems.noted():
            name, arguments = _read(spec, key)
            target = lookup.find(name, METRIC, key)
            if any(base.__module__ == "torchmetrics.aggregation" for base in target.__mro__):
                raise ConfigError(key, f"{name} compares no outputs with targets; use another metric")
            found.append(Metric(name.rpartition(".")[2], target, arguments, key))
    problems.tell()
    return found


def build(metrics: list[Metric], data: Data, loss: nn.Module, output: Tensor, size: int | None) -> dict[str, Any]:
    """Make the metrics by name, on the CPU, each tried on every part of the data that is evaluated.

    output: what the model gives for some examples, on the meta device.
    size: `trainer.batch_size`, by which the evaluation goes.
    Raises ConfigError for a metric that such outputs and targets cannot have.
    """
    if metrics and targets_of(loss) == "label_sets":
        raise ConfigError(
            "metrics[0]",
            f"{type(loss).__name__} has sets of labels as targets, which no metric reads; leave metrics out, or use"
            " MultiLabelSoftMarginLoss with 0 and 1 for every label",
        )
    made: dict[str, Any] = {}
    problems = Problems()
    for metric in metrics:
        with problems.noted():
            built = _build(metric, data, loss, output, size)
            if metric.name in made:
                raise ConfigError(
                    metric.key,
                    f"{metric.name} stands there already, and both would be recorded under one name; leave it out",
                )
            made[metric.name] = built
    problems.tell()
    return made


def _build(metric: Metric, data: Data, loss: nn.Module, output: Tensor, size: int | None) -> Any:
    name, target, key = metric.name, metric.target, metric.key
    arguments = {**_from_data(target, data, metric.arguments, key, output), **metric.arguments}
    try:
        built = target(**arguments)
    except Exception as error:  # a metric of another package, which need not be installed, raises what it likes
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {brief(error)}") from error
    problem = _problem(built, data, loss, output, size)
    if problem and "num_outputs" in lookup.parameters(target) and "num_outputs" not in arguments:
        many = functools.partial(target, **arguments, num_outputs=output[0].numel())
        if output[0].numel() > 1 and _problem(built := many(), data, loss, output, size) is None:
            problem = None
    if problem and data.task == "binary" and output.dim() > 1 and output.shape[1] > 2:
        few = "two classes need one number of the model, or two"
        raise ConfigError(key, f"{name}: {few}, and it gives {output.shape[1]}; let the last layer give 2")
    if problem:
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {problem}")
    return built


def _problem(metric: Any, data: Data, loss: nn.Module, output: Tensor, size: int | None) -> str | None:
    """Why a metric cannot be had of the parts that are evaluated, and what to do; None if it can."""
    for part in ("valid", "test"):
        source = getattr(data, part)
        problem = source is not None and _problem_of(part, source, metric, data, loss, output, size)
        if problem:
            return problem
    return None


def _problem_of(
    part: str, source: Source, metric: Any, data: Data, loss: nn.Module, output: Tensor, size: int | None
) -> str | None:
    """Say why a metric cannot be had on one part of the data; None if it can."""
    said = _said(metric, source, data, loss, output, size)
    if not said:
        return None
    shape = "(" + ", ".join(map(str, (len(source), *output.shape[1:]))) + ")"  # type: ignore[arg-type]
    more = _said(metric, _enough(source, data), data, loss, output, size) == ""
    remedy = f"give the {part} data more examples, or use another metric" if more else "use another metric"
    return f"{said.rstrip('.')} (the {part} data, outputs of shape {shape}); {remedy}"


def check_train(made: dict[str, Any], data: Data, loss: nn.Module, output: Tensor, size: int | None) -> None:
    """Raise ConfigError for a metric that the training data cannot have.

    `build` does not try this, for nobody measures it while a model trains.
    made, data: of a run, on its device. output: see `build`.
    """
    source = data.train
    if isinstance(source, Tensors):
        y = host.tensor(source.y)
        source = Tensors(y, y)
    for i, (name, metric) in enumerate(made.items()):
        if problem := _problem_of("train", source, host.metric(metric), data, loss, output, size):
            raise ConfigError(f"metrics[{i}]", f"{name} cannot be had for {data.task} data: {problem}")


def _said(metric: Any, source: Source, data: Data, loss: nn.Module, output: Tensor, size: int | None) -> str:
    """What torchmetrics has against it; nothing if it gives a number. The metric is as new afterwards."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for scores, target in _made_up(source, data, output, size):
                metric.update(*as_scores(scores, target, data, loss))
            values({"": metric})
    except Exception as error:
        return brief(error)
    finally:
        metric.reset()
    return next((str(w.message) for w in caught if re.match(MEANINGLESS, str(w.message))), "")


def _enough(source: Source, data: Data) -> Tensors:
    """Many examples, of every class."""
    first = torch.as_tensor(source[0][1])
    target = torch.rand(ROWS, *first.shape, generator=torch.Generator().manual_seed(1)).to(first.dtype)
    if data.classes:
        kinds = 2 if data.task == "multilabel" else len(data.classes)
        target = (torch.arange(target.numel()) % kinds).reshape(target.shape).to(first.dtype)
    return Tensors(target, target)


def _made_up(source: Source, data: Data, output: Tensor, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as the evaluation reads them, the targets real where they are in memory; of many rows only some."""
    total = len(source)  # type: ignore[arg-type]
    if isinstance(source, Tensors) and not source.y.is_meta:
        target = source.y[_some(source.y, bool(data.classes))]
    else:
        first = source[0][1]
        target = first.repeat(min(total, ROWS), *[1] * first.dim())
        if data.classes and not first.is_floating_point() and (first[first != data.ignored] >= 0).all():
            target = torch.arange(target.numel()).reshape(target.shape) % len(data.classes)
    random = torch.Generator().manual_seed(0)
    made = torch.rand((len(target), *output.shape[1:]), generator=random, dtype=output.dtype)
    size = evaluation_size(source, size) or total
    for start in itertools.chain(
        range(0, len(target), size), [len(target) - total % size] if len(target) < total else ()
    ):
        yield made[start : start + size], target[start : start + size]


def _some(target: Tensor, classes: bool) -> Tensor:
    """The rows to try: all, or evenly spaced ones and the first of each class."""
    if len(target) <= ROWS:
        return torch.arange(len(target))
    rows = torch.linspace(0, len(target) - 1, ROWS).long()
    if classes and target.dim() == 1:
        different, inverse = target.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        first = torch.full((len(different),), len(target)).scatter_reduce(0, inverse, torch.arange(len(target)), "amin")
        rows = torch.cat([rows, first]).unique()  # type: ignore[no-untyped-call]
    return rows


def watch(
    metrics: dict[str, Any], data: Data, loss: nn.Module, model: nn.Module | None = None
) -> Callable[[Tensor, Tensor], None] | None:
    """What shows every batch's (output, target) to the metrics; None without metrics."""
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
    """Probabilities for classes, numbers as they are, or of their logarithms: what `predict` writes.

    torchmetrics takes scores that all lie in [0, 1] for probabilities, which logits may happen to do.
    model: whose last layer may give probabilities already.
    """
    if data.task == "multiclass" or (data.task == "binary" and output.dim() > 1 and output.shape[1] == 2):
        scores = shares(model, output)
        return (scores if data.task == "multiclass" else scores[:, 1]), labels_of(target, data.task)
    if data.task in ("binary", "multilabel"):
        scores = chances(model, loss, output)
        labels = labels_of(target, data.task)
        return (scores, labels) if data.task == "multilabel" else (scores.reshape(-1), labels.reshape(-1))
    return on_scale(loss, output), target


def values(metrics: dict[str, Any]) -> dict[str, float]:
    """What the metrics have come to since the last call; they start anew."""
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        if not isinstance(value, Tensor | float | int):
            raise TypeError(f"it gives a {type(value).__name__}, such as a curve; what is recorded is numbers")
        parts = host.numbers(value) if isinstance(value, Tensor) else [float(value)]
        found.update({name: parts[0]} if len(parts) == 1 else {f"{name}_{i}": p for i, p in enumerate(parts)})
        metric.reset()
    return found


#: What other programs call a metric.
OTHERS = {
    "acc": "Accuracy",
    "auc": "AUROC",
    "f1": "F1Score",
    "iou": "JaccardIndex",
    "kappa": "CohenKappa",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "mcc": "MatthewsCorrCoef",
    "mse": "MeanSquaredError",
    "r2": "R2Score",
    "rmse": "{MeanSquaredError: {squared: false}}",
    "rocauc": "AUROC",
}


def _read(spec: Any, key: str) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str) and (meant := OTHERS.get(spec.lower().replace("_", ""))) and spec != meant:
        raise ConfigError(key, f"{spec!r} is not a metric in torchmetrics; did you mean {meant}?")
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, dict) and len(spec) == 1 and "name" not in spec and "_target_" not in spec:
        [(name, arguments)] = spec.items()
        if isinstance(arguments, dict | None):
            return name, dict(arguments or {})
    if isinstance(spec, dict) and spec:
        return lookup.component(spec, key)
    raise ConfigError(key, f"expected a name such as Accuracy, or {{F1Score: {{average: macro}}}}, found {spec!r}")


def _from_data(found: Any, data: Data, given: dict[str, Any], key: str, output: Tensor) -> dict[str, Any]:
    takes = lookup.parameters(found.__new__ if "task" in lookup.parameters(found.__new__) else found)
    # A model may give more numbers than there are classes; those beyond are wrong answers.
    outputs = output.shape[1] if output.dim() > 1 else 0
    told: dict[str, Any] = {"task": data.task, "num_classes": max(len(data.classes), outputs)}
    if data.task == "regression":
        told = {}
    elif data.task == "binary":
        told.pop("num_classes")
    elif data.task == "multilabel":
        told["num_labels"] = told.pop("num_classes")
    if data.ignored is not None:
        told["ignore_index"] = data.ignored
    lookup.bind(_named(found, takes), given, f"{key}.{found.__name__}", free=[*FROM_DATA, *takes])
    if "task" in takes and data.task == "regression":
        raise ConfigError(
            key,
            f"{found.__name__} needs classes, and the data has numbers to predict; try MeanAbsoluteError or R2Score",
        )
    return {name: value for name, value in told.items() if name in takes}


def _named(found: Any, takes: dict[str, Any]) -> Any:
    return found.__new__ if "task" in takes else found
