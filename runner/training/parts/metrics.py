"""Metrics of torchmetrics by name: made with the task and the classes of the data, and tried on it."""

import functools
import itertools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Source, Tensors, evaluation_size
from runner.data._streams import collates
from runner.model import host
from runner.model.conventions import targets_of
from runner.settings import Trainer
from runner.settings.errors import ConfigError, Problems, brief, did_you_mean
from runner.settings.values import lookup
from runner.training.events import NAME
from runner.training.parts import outputs_apart, own_losses, two_classes
from runner.training.parts.metric_specs import METRIC as METRIC
from runner.training.parts.metric_specs import load, read, specs_of
from runner.training.parts.metric_values import as_scores, values
from runner.training.parts.named import names_of, picked

#: Arguments of a metric that follow from the data.
FROM_DATA = ("task", "num_classes", "num_labels", "num_outputs", "ignore_index")
#: Rows of a part that a metric is tried on, beside one of each class.
ROWS = 512
#: Beginning of torchmetrics' warnings that the number it returns means nothing.
MEANINGLESS = r"No (positive|negative) samples"


@dataclass(frozen=True)
class Metric:
    """A metric's class and the arguments that the settings give it."""

    name: str  # under which it is recorded
    target: Any
    arguments: dict[str, Any]
    key: str
    output: str = ""  # of the model's outputs the one that it is of; "": of the only one
    label: bool = False  # the name was given, and may be that of an output


def resolve(specs: Any) -> list[Metric]:
    """Look up the metrics' classes, without data. Raises ConfigErrors with all that are wrong.

    specs: a list, or a mapping with a name for each, or with a list for each output of the model, see `metric_specs`.
    """
    if specs:
        load()
    problems, metrics = Problems(), list[Metric]()
    for spec in specs_of(specs, "metrics"):
        key = spec.key
        with problems.collect():
            name, arguments = read(spec.value, key)
            target = lookup.find(name, METRIC, key)
            if any(base.__module__ == "torchmetrics.aggregation" for base in target.__mro__):
                raise ConfigError(key, f"{name} compares no outputs with targets; use another metric")
            recorded = spec.name or name.rpartition(".")[2]
            if spec.name in ("loss", "lr", "epoch") or not re.fullmatch(NAME, recorded):
                raise ConfigError(
                    key, f"{recorded!r} cannot be a metric's name; use letters, digits and _, and not loss"
                )
            metrics.append(Metric(recorded, _of_probabilities(target), arguments, key, spec.output, bool(spec.name)))
    problems.raise_all()
    return metrics


def _of_probabilities(target: Any) -> Any:
    """Return the metric's class, or ours where torchmetrics' takes logits, which are not what metrics are shown."""
    if any(base.__module__ == "torchmetrics.text.perplexity" for base in target.__mro__):
        from runner.training.parts.perplexity import Perplexity

        return Perplexity
    return target


def build(metrics: list[Metric], data: Data, loss: nn.Module, output: Any, trainer: Trainer) -> dict[str, Any]:
    """Make the metrics by name, on the CPU, each tried on every part of the data that is evaluated.

    output: of the model for a batch, on the meta device: (N, ...), or several by name.
    trainer: of the run, by which the sizes of batches in an evaluation go.
    Metrics of one of several outputs are called <output>/<name>.
    Raises ConfigErrors with all metrics that such outputs and targets cannot have.
    """
    if metrics and targets_of(loss) == "label_sets":
        raise ConfigError(
            "metrics[0]",
            f"{type(loss).__name__} has sets of labels as targets, which no metric reads; leave metrics out, or use"
            " MultiLabelSoftMarginLoss with 0 and 1 for every label",
        )
    by_name: dict[str, Any] = {}
    problems = Problems()
    for metric in metrics:
        with problems.collect():
            metric, recorded = _placed(metric, output)
            if metric.output:
                view, its_loss = outputs_apart.data_of(data, metric.output), outputs_apart.loss_of(loss, metric.output)
                built = _build(metric, view, its_loss, picked(output, metric.output), trainer)
            else:
                built = _build(metric, data, loss, output, trainer)
            if recorded in by_name:
                raise ConfigError(
                    metric.key, f"duplicate {recorded}: both would be recorded under one name; remove one"
                )
            if recorded in own_losses.found(loss).names:
                raise ConfigError(metric.key, f"{recorded!r} is the name of a part of the loss, too; give it another")
            by_name[recorded] = built
    problems.raise_all()
    return by_name


def _placed(metric: Metric, output: Any) -> tuple[Metric, str]:
    """Return a metric with the output that it is of, and the name under which it is recorded."""
    names = names_of(output)
    if metric.label and metric.name in names and not metric.output:  # {digit: Accuracy}
        metric = replace(metric, name=metric.target.__name__, output=metric.name)
    if metric.output and metric.output not in names:
        gives = f"gives {', '.join(names)}" if names else "gives one output; use a list, metrics=[Accuracy]"
        raise ConfigError(
            metric.key, f"{metric.output!r} is no output: the model {gives}{did_you_mean(metric.output, names)}"
        )
    if names and not metric.output:
        example = f"metrics={{{names[0]}: [{metric.target.__name__}]}}"
        raise ConfigError(
            metric.key, f"{metric.name}: the model gives {', '.join(names)}; say of which it is, as in {example}"
        )
    return metric, f"{metric.output}/{metric.name}" if metric.output else metric.name


def _build(metric: Metric, data: Data, loss: nn.Module, output: Tensor, trainer: Trainer) -> Any:
    name, target, key = metric.name, metric.target, metric.key
    arguments = {**_from_data(target, data, metric.arguments, key, output), **metric.arguments}
    try:
        built = target(**arguments)
        built = two_classes.read_all(built, target, arguments, metric.arguments, data.task, key)
    except ConfigError:
        raise
    except Exception as error:  # a metric of another package, which need not be installed, raises what it likes
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {brief(error)}") from error
    problem = _problem(built, data, loss, output, trainer)
    if problem and "num_outputs" in lookup.parameters(target) and "num_outputs" not in arguments:
        many = functools.partial(target, **arguments, num_outputs=output[0].numel())
        if output[0].numel() > 1 and _problem(built := many(), data, loss, output, trainer) is None:
            problem = None
    if problem and data.task == "binary" and output.dim() > 1 and output.shape[1] > 2:
        few = "two classes need one number of the model, or two"
        raise ConfigError(key, f"{name}: {few}, and it gives {output.shape[1]}; let the last layer give 2")
    if problem:
        raise ConfigError(key, f"{name} cannot be had for {data.task} data: {problem}")
    return built


def _problem(metric: Any, data: Data, loss: nn.Module, output: Tensor, trainer: Trainer) -> str | None:
    """Return why a metric cannot be computed on the parts that are evaluated, and the remedy; None if it can."""
    for part in ("valid", "test"):
        source = getattr(data, part)
        problem = source is not None and _problem_of(part, source, metric, data, loss, output, trainer)
        if problem:
            return problem
    return None


def _problem_of(
    part: str, source: Source, metric: Any, data: Data, loss: nn.Module, output: Tensor, trainer: Trainer
) -> str | None:
    """Return why a metric cannot be computed on one part of the data, and the remedy; None if it can."""
    complaint = _complaint(metric, source, data, loss, output, trainer)
    if not complaint:
        return None
    shape = (len(source), *output.shape[1:])  # type: ignore[arg-type]
    more = _complaint(metric, _enough(source, data), data, loss, output, trainer) == ""
    remedy = f"give the {part} data more examples, or use another metric" if more else "use another metric"
    return f"{complaint.rstrip('.')} (the {part} data, outputs of shape {shape}); {remedy}"


def check_train(metrics: dict[str, Any], data: Data, loss: nn.Module, output: Any, trainer: Trainer) -> None:
    """Raise ConfigError for a metric that cannot be computed on the training data.

    `build` does not try this, because it is not measured while a model trains.
    metrics, data: of a run, on its device. output, trainer: see `build`.
    """
    for i, (name, metric) in enumerate(metrics.items()):
        of = name.rpartition("/")[0]
        view, its_loss = (outputs_apart.data_of(data, of), outputs_apart.loss_of(loss, of)) if of else (data, loss)
        source = view.train
        if isinstance(source, Tensors):
            y = host.tensor(source.y)
            source = Tensors(y, y)
        its_output = picked(output, of) if of else output
        if problem := _problem_of("train", source, host.metric(metric), view, its_loss, its_output, trainer):
            raise ConfigError(f"metrics[{i}]", f"{name} cannot be had for {view.task} data: {problem}")


def _complaint(metric: Any, source: Source, data: Data, loss: nn.Module, output: Tensor, trainer: Trainer) -> str:
    """Return the error or warning of torchmetrics; "" if it gives a number. The metric is reset afterwards."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for scores, target in _trial_batches(source, data, output, trainer):
                metric.update(*as_scores(scores, target, data, loss))
            values({"": metric})
    except Exception as error:
        return brief(error)
    finally:
        metric.reset()
    return next((str(w.message) for w in caught if re.match(MEANINGLESS, str(w.message))), "")


def _enough(source: Source, data: Data) -> Tensors:
    """Return many examples, some of every class."""
    first = torch.as_tensor(source[0][1])
    target = torch.rand(ROWS, *first.shape, generator=torch.Generator().manual_seed(1)).to(first.dtype)
    if data.classes:
        kinds = 2 if data.task == "multilabel" else len(data.classes)
        target = (torch.arange(target.numel()) % kinds).reshape(target.shape).to(first.dtype)
    return Tensors(target, target)


def _trial_batches(source: Source, data: Data, output: Tensor, trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (output, target) as in an evaluation: outputs are random, targets those of data in memory."""
    total = len(source)  # type: ignore[arg-type]
    if isinstance(source, Tensors) and not source.y.is_meta:
        target = source.y[_some(source.y, bool(data.classes))]
    else:
        first = (data.train if collates(source) else source)[0][1]  # as long as the example that the output is of
        target = first.repeat(min(total, ROWS), *[1] * first.dim())
        if data.classes and not first.is_floating_point() and (first[first != data.ignored] >= 0).all():
            target = torch.arange(target.numel()).reshape(target.shape) % len(data.classes)
    random = torch.Generator().manual_seed(0)
    outputs = torch.rand((len(target), *output.shape[1:]), generator=random, dtype=output.dtype)
    size = evaluation_size(source, trainer) or total
    last = total % size if len(target) < total else 0  # examples of the last batch, where it is a smaller one
    for start in itertools.chain(range(0, len(target), size), [len(target) - last] if last else ()):
        yield outputs[start : start + size], target[start : start + size]


def _some(target: Tensor, classes: bool) -> Tensor:
    """Return the numbers of the rows to try: all, or evenly spaced ones and the first of each class."""
    if len(target) <= ROWS:
        return torch.arange(len(target))
    rows = torch.linspace(0, len(target) - 1, ROWS).long()
    if classes and target.dim() == 1:
        different, inverse = target.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        first = torch.full((len(different),), len(target)).scatter_reduce(0, inverse, torch.arange(len(target)), "amin")
        rows = torch.cat([rows, first]).unique()  # type: ignore[no-untyped-call]
    return rows


def _from_data(target: Any, data: Data, arguments: dict[str, Any], key: str, output: Tensor) -> dict[str, Any]:
    """Check `arguments`, and return those that follow from the data and that the metric's class has."""
    signature = target.__new__ if "task" in lookup.parameters(target.__new__) else target
    takes = lookup.parameters(signature)
    # A model may give more numbers than there are classes; those beyond are wrong answers.
    outputs = output.shape[1] if output.dim() > 1 else 0
    of_data: dict[str, Any] = {"task": data.task, "num_classes": max(len(data.classes), outputs)}
    if data.task == "regression":
        of_data = {}
    elif data.task == "binary":
        of_data.pop("num_classes")
    elif data.task == "multilabel":
        of_data["num_labels"] = of_data.pop("num_classes")
        if of_data["num_labels"] == 1:  # torchmetrics takes two at least; one is yes or no
            of_data = {"task": "binary"}
    if data.ignored is not None:
        of_data["ignore_index"] = data.ignored
    lookup.bind(signature, arguments, f"{key}.{target.__name__}", free=[*FROM_DATA, *takes])
    if ("task" in takes or target.__name__ == "Perplexity") and data.task == "regression":
        y = data.train[0][1]
        unknown = isinstance(y, Tensor) and not y.is_floating_point() and not isinstance(data.train, Tensors)
        why = (
            "those of a dataset that is not in memory are not known; name them, Data(..., classes=...)"
            if unknown
            else "the data has numbers to predict; try MeanAbsoluteError or R2Score"
        )
        raise ConfigError(key, f"{target.__name__} needs classes, and {why}")
    return {name: value for name, value in of_data.items() if name in takes}
