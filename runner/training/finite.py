"""Checks that losses and weights are finite, which stop a training that diverges within one step."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from runner.training.events import Step


class Diverged(ArithmeticError):
    """A loss or a weight is NaN or infinite."""


@dataclass
class Finite:
    """Checks the loss of every step.

    late: check each loss one step later, so that training need not wait for a device that computes in the background.
    """

    late: bool
    _before: Step | None = None

    def check(self, step: Step) -> None:
        """Raise Diverged if the loss is not a finite number."""
        due, self._before = (self._before, step) if self.late else (step, None)
        if due is not None and not math.isfinite(value := due.read()):
            raise Diverged(f"train/loss is {value} at step {due.step}")

    def check_last(self) -> None:
        """Check the last step of a training, which no other follows."""
        if self._before is not None:
            self.check(self._before)


def check_loss(name: str, value: float, step: int) -> None:
    """Raise Diverged if the loss on data that is not trained on is no finite number."""
    if not math.isfinite(value):
        raise Diverged(f"{name} is {value} after step {step}")


def check_model(model: nn.Module, step: int) -> None:
    """Raise Diverged if a parameter is not finite. A buffer may be so by intent, as a mask is."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise Diverged(f"{name} holds NaN or infinite numbers after step {step}")
