"""The outputs of a model that gives several, each with its own targets, task, classes, loss and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, Tensors
from runner.data._reading import batch
from runner.training.parts.metric_sums import MetricValues, Subject
from runner.training.parts.named import ByOutput, picked, target_of


class Values(Protocol):
    """Metric values that are shown a run's batches one by one."""

    def update_one(self, output: Any, target: Any) -> None:
        """Add one batch."""

    def values(self) -> list[dict[str, float]]:
        """Return the metric values, in a list of one."""


def metric_values(run: Subject) -> Values:
    """Return what measures a run's metrics: at once, or those of each output apart."""
    return MetricValues([run], [0]) if (of := subjects(run)).keys() <= {""} else Apart(of)


def subjects(run: Subject) -> dict[str, Subject]:
    """Return what the metrics of each output are of, by its name; "" is that of a model with one.

    The names of an output's metrics have a `/`.
    """
    outputs = dict.fromkeys(name.rpartition("/")[0] for name in run.metrics)
    return {name: _Output(run, name) if name else run for name in outputs}


def data_of(data: Data, name: str) -> Data:
    """Return the data with the targets of one output alone, their task and their classes."""
    parts: dict[str, Any] = {part: _source(getattr(data, part), name) for part in ("train", "valid", "test")}
    for key in ("task", "classes", "ignored"):
        value = getattr(data, key)
        parts[key] = value[name] if isinstance(value, dict) else value
    return replace(data, **parts)


def loss_of(loss: nn.Module, name: str) -> nn.Module:
    """Return the loss of one output; of one that is computed of all outputs, that one."""
    return dict(loss.items()).get(name, loss) if isinstance(loss, ByOutput) else loss


@dataclass
class Apart:
    """Metric values of several outputs, as "<output>/<metric>"."""

    of: InitVar[Mapping[str, Subject]]

    def __post_init__(self, of: Mapping[str, Subject]) -> None:
        self._of = {name: MetricValues([one], [0]) for name, one in of.items()}

    def update_one(self, output: Any, target: Any) -> None:
        """Add one batch of all outputs."""
        for name, values in self._of.items():
            values.update_one(picked(output, name), target_of(target, name))

    def values(self) -> list[dict[str, float]]:
        """Return the metric values, in a list of one."""
        return [{f"{output}/{k}": v for output, of in self._of.items() for k, v in of.values()[0].items()}]


class _Output:
    """The part of a run that the metrics of one output need."""

    def __init__(self, run: Subject, name: str) -> None:
        self.data, self.loss, self.device = data_of(run.data, name), loss_of(run.loss, name), run.device
        prefix = f"{name}/"
        self.metrics = {k.removeprefix(prefix): m for k, m in run.metrics.items() if k.startswith(prefix)}
        # The last layer of the model is not that of this output: what it gives is taken for logits.
        self.model = nn.Identity()


@dataclass(frozen=True, eq=False)
class OneTarget(torch.utils.data.Dataset[Batch]):
    """A dataset with one of the targets of `inner`."""

    inner: Any
    name: str

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Batch:
        x, y = self.inner[index]
        return x, target_of(y, self.name)

    def batch(self, indices: Sequence[int]) -> Batch | None:
        """Return the batch of these examples if `data.collate` makes it."""
        pair = batch(self.inner, indices)
        return None if pair is None else (pair[0], target_of(pair[1], self.name))


def _source(source: Source | None, name: str) -> Source | None:
    if source is None or (isinstance(source, Tensors) and isinstance(source.y, Tensor)):
        return source
    return Tensors(source.x, picked(source.y, name)) if isinstance(source, Tensors) else OneTarget(source, name)
