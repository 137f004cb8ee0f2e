"""Parts of an experiment, each from its own settings alone, as `components.resolve` makes them from all settings."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.settings import Settings, Trainer
from runner.settings.errors import Problems
from runner.training.checking import checks
from runner.training.checking.known import Known
from runner.training.loop import State
from runner.training.parts import losses, metrics, optimizers, scheduling, source
from runner.training.parts.components import Components
from runner.training.parts.scheduling import Schedule


def without_data(settings: Settings) -> Components:
    """Look up and check what needs no data. Raises ConfigError, or ConfigErrors with all problems."""
    problems = Problems()
    parts = checks.without_data(settings, problems, Known())
    problems.raise_all()
    return parts


def data(spec: dict[str, Any], brief: bool = False, noted: dict[str, Any] | None = None) -> Data:
    """Read the data that `spec` names."""
    return source.read(source.resolve(spec), brief, noted)


def optimizer(spec: dict[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer that `spec` names over all of the model's parameters."""
    return optimizers.build(optimizers.resolve(spec), model)


def state(model: nn.Module, spec: dict[str, Any], trainer: Trainer, where: torch.device) -> State:
    """Put the model and the optimizer that `spec` names on a device, for the mean squared error."""
    cost = losses.cost(nn.MSELoss(), trainer, where)
    return optimizers.state(model, optimizers.resolve(spec), cost, trainer, where)


def schedule(spec: dict[str, Any] | None, of: torch.optim.Optimizer, epochs: int, steps: int, mode: str) -> Schedule:
    """Make the schedule that `spec` names."""
    return scheduling.build(scheduling.resolve(spec, Trainer()), of, epochs, steps, mode)


def made_metrics(specs: list[Any], data: Data, loss: nn.Module, output: Tensor, size: int | None) -> dict[str, Any]:
    """Make the metrics that `specs` name."""
    return metrics.build(metrics.resolve(specs), data, loss, output, Trainer(batch_size=size))
