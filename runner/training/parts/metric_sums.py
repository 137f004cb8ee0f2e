"""Metric values of one model or of many at once: common metrics are summed for all together, others go one by one.

Torchmetrics takes ten times as long for a batch of a small model as the model itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.model import host
from runner.model.conventions import takes_logarithms
from runner.training.parts import metric_values
from runner.training.parts.metric_values import names_of

#: (outputs, targets), both (N, batch, ...) -> (N,). The metric is the sum over batches, divided by the targets' number.
Count = Callable[[Tensor, Tensor], Tensor]


class Subject(Protocol):
    """The part of a run that its metrics need."""

    data: Data
    loss: nn.Module
    metrics: dict[str, Any]
    device: torch.device

    @property
    def model(self) -> nn.Module:
        """The model whose outputs are measured."""


class MetricValues:
    """Metric values of those of `runs` with the numbers in `chosen`, as `parts.metric_values` gives them for one run.

    Sums are taken over all runs, which costs less than picking some. counts: `counted(runs)`, where it is known.
    """

    def __init__(self, runs: Sequence[Subject], chosen: Sequence[int], counts: dict[str, Count] | None = None) -> None:
        self.runs = {i: runs[i] for i in chosen}
        self._counts = counted(runs) if counts is None else counts
        self._sums = {name: torch.zeros(len(runs), device=runs[0].device) for name in self._counts}
        self._seen, self._shares = 0, runs[0].data.task == "multiclass"
        rest = {i: {k: v for k, v in run.metrics.items() if k not in self._counts} for i, run in self.runs.items()}
        self._watches = {i: metric_values.watch(rest[i], run.data, run.loss, run.model) for i, run in self.runs.items()}

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add one batch of each model: `output` and `target` are of shape (N, batch, ...)."""
        counted = target.max(2).indices if self._shares and target.is_floating_point() else target
        self._seen += counted[0].numel()
        for name, count in self._counts.items():
            self._sums[name] += count(output, counted).float()  # as torchmetrics adds up, whatever it is given
        for i, watch in self._watches.items():
            if watch is not None:
                watch(output[i].contiguous(), target[i].contiguous())  # as they lie there alone

    def update_one(self, output: Tensor, target: Tensor) -> None:
        """Add one batch of the only model: `output` and `target` are of shape (batch, ...)."""
        self.update(output.unsqueeze(0), target.unsqueeze(0))

    def values(self) -> list[dict[str, float]]:
        """Return the metric values of each chosen run by name."""
        together = {name: host.numbers(sums / self._seen) for name, sums in self._sums.items()}
        return [
            {
                key: value
                for name, metric in run.metrics.items()
                for key, value in (
                    {name: together[name][i]}
                    if name in together
                    else metric_values.values({name: metric}, names_of(run.data))
                ).items()
            }
            for i, run in self.runs.items()
        ]


def counted(runs: Sequence[Subject]) -> dict[str, Count]:
    """Return the functions of those metrics that all of `runs` have and that are summed for all together, by name."""
    return {
        name: count
        for name, metric in runs[0].metrics.items()
        if (count := _count(metric, runs[0])) is not None
        and all(_count(run.metrics.get(name), run) is count for run in runs)
    }


def _count(metric: Any, run: Subject) -> Count | None:
    from torchmetrics import MeanAbsoluteError, MeanSquaredError
    from torchmetrics.classification import MulticlassAccuracy

    task = run.data.task
    if type(metric) is MulticlassAccuracy and task == "multiclass":
        arguments = (metric.average, metric.top_k, metric.ignore_index, metric.multidim_average)
        return _right if arguments == ("micro", 1, None, "global") else None
    if task != "regression" or takes_logarithms(run.loss):  # metrics take other numbers than the outputs
        return None
    if type(metric) is MeanSquaredError:
        return _squared if metric.num_outputs == 1 and metric.squared else None
    if type(metric) is MeanAbsoluteError:
        return _absolute if metric.num_outputs == 1 else None
    return None


def _right(output: Tensor, target: Tensor) -> Tensor:
    """Count the examples whose largest output is that of the right class."""
    return _sum(_pair(output.max(2).indices, target, torch.eq))


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return _sum(_pair(output, target, torch.sub).square_())


def _absolute(output: Tensor, target: Tensor) -> Tensor:
    return _sum(_pair(output, target, torch.sub).abs_())


def _pair(output: Tensor, target: Tensor, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    if output.shape != target.shape:  # torch would compare every output with every target
        raise ValueError(f"a metric needs targets of shape {tuple(output.shape[1:])}, found {tuple(target.shape[1:])}")
    return compare(output, target)


def _sum(numbers: Tensor) -> Tensor:
    return numbers.flatten(1).sum(1)
