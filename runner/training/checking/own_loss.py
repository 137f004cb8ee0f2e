"""Tries a loss of the user's own that takes (model, batch), before a run exists."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import failure
from runner.training.parts import own_losses
from runner.training.parts.own_losses import Found


class OwnLoss:
    """Computes a loss of (model, batch), and notes its parts and whether it needs gradients in an evaluation.

    loss: a copy. noted: the run's own, of which it is noted.
    """

    def __init__(self, loss: nn.Module, noted: nn.Module) -> None:
        self.loss, self.noted = loss, noted
        self._needs: bool | None = None  # None: not tried without gradients

    def __call__(self, model: nn.Module, batch: Batch, part: str = "train") -> Tensor:
        """Return the loss of a batch of the data's `part`. Raises ConfigError where it fails or gives anything else."""
        name = type(self.loss).__name__
        try:
            value = self._value(model, batch)
        except Exception as error:
            where = failure(error, own_losses.written(self.loss))
            raise ConfigError("loss.name", f"{name} fails on the {part} data: {where}") from error
        names = own_losses.check_value(value, name)
        own_losses.note(self.noted, Found(names, self._needs is not False))
        return own_losses.total(value)

    def _value(self, model: nn.Module, batch: Batch) -> Any:
        if torch.is_grad_enabled():
            return self.loss(model, batch)
        self._needs = bool(self._needs)
        try:
            return self.loss(model, batch)
        except RuntimeError:
            self._needs = True  # what fails with gradients too is raised
            with torch.enable_grad():
                return self.loss(model, batch)
