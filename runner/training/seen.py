"""Metric values of the training batches, of the outputs that the steps have computed: `trainer.train_metrics`."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data
from runner.settings import Trainer, torch_private
from runner.settings.errors import ConfigError
from runner.training.loop import State
from runner.training.parts import metric_values, outputs_apart
from runner.training.parts.named import picked, target_of


class Unseen:
    """No metric values of training batches."""

    def values(self) -> dict[str, float]:
        """Return none."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""


class Seen(Unseen):
    """A cost that shows the outputs of batches that are trained on to metrics of its own, each before its step.

    state: of the run, whose cost is taken. metrics: by name, which are copied. data, loss: of the run.
    """

    def __init__(
        self, state: State, metrics: Mapping[str, Any], data: Data, loss: nn.Module, device: torch.device
    ) -> None:
        self.cost, self.metrics = state.cost, {name: copy.deepcopy(metric) for name, metric in metrics.items()}
        self.data, self.loss, self.model, self.device = data, loss, state.model, device
        self._of = outputs_apart.subjects(self)
        watches = ((name, metric_values.watch(of.metrics, of.data, of.loss, of.model)) for name, of in self._of.items())
        self._watches = [(name, watch) for name, watch in watches if watch is not None]

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Any]:
        """Return the loss and the output of a batch."""
        loss, output = self.cost(model, batch)
        if model.training and torch.is_grad_enabled():
            for name, watch in self._watches:
                one, target = (picked(output, name), target_of(batch[1], name)) if name else (output, batch[1])
                watch(one.detach(), target)
        return loss, output

    def values(self) -> dict[str, float]:
        """Return the metric values of all batches since the last call, as train/<metric>, named as in a validation."""
        if not all(metric.update_called for metric in self.metrics.values()):
            why = "true, and trainer.step has called no state.cost, whose outputs are measured; leave one out"
            raise ConfigError("trainer.train_metrics", why)
        return {
            f"train/{output}/{name}" if output else f"train/{name}": value
            for output, of in self._of.items()
            for name, value in metric_values.values(of.metrics, metric_values.names_of(of.data)).items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the metrics so far, as tensors and plain values."""
        return {
            name: [[dict(part.metric_state), part.update_count] for part in _parts(metric)]
            for name, metric in self.metrics.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with sums that `state_dict` returned."""
        for name, parts in state.items():
            for part, (values, count) in zip(_parts(self.metrics[name]), parts, strict=True):
                for key, value in values.items():
                    there = value.to(part.device) if isinstance(value, Tensor) else [v.to(part.device) for v in value]
                    setattr(part, key, there)
                torch_private.set_updates(part, count)


def seen(
    state: State, metrics: Mapping[str, Any], data: Data, loss: nn.Module, trainer: Trainer, device: torch.device
) -> Unseen:
    """Return the metrics of the training batches, and let the steps show them their outputs, if that is asked for."""
    if not trainer.train_metrics:
        return Unseen()
    state.cost = cost = Seen(state, metrics, data, loss, device)
    return cost


def check(trainer: Trainer, optimizer: Any, metrics: Any) -> None:
    """Raise ConfigError where the batches of training cannot be measured. optimizer: its class. metrics: resolved."""
    if trainer.train_metrics and not metrics:
        raise ConfigError("trainer.train_metrics", "true, and there are no metrics; set some, as in metrics=[Accuracy]")
    if trainer.train_metrics and optimizer is torch.optim.LBFGS:
        why = "true, and LBFGS evaluates a batch as often as it needs; leave it out, or use another optimizer"
        raise ConfigError("trainer.train_metrics", why)


def _parts(metric: Any) -> list[Any]:
    """Return a metric and those within it that have sums of their own."""
    return [part for part in metric.modules() if hasattr(part, "metric_state")]
