"""Checks that losses and weights are finite, which stop a training that diverges."""

import math

import torch
from torch import nn

from runner.model import host


class Diverged(ArithmeticError):
    """A loss or a weight is NaN or infinite."""


def check_loss(name: str, value: float, step: int) -> None:
    """Raise Diverged if the loss on data that is not trained on is no finite number."""
    if not math.isfinite(value):
        raise Diverged(f"{name} is {value} after step {step}")


def check_model(model: nn.Module, step: int) -> None:
    """Raise Diverged if a parameter is not finite. A buffer may be so by intent, as a mask is."""
    parameters = list(model.parameters())
    # A sum is not finite if one of its numbers is not; that of finite ones may be too large, and each is looked at.
    if parameters and all(math.isfinite(host.number(parameter.detach().sum())) for parameter in parameters):
        return
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise Diverged(f"{name} holds NaN or infinite numbers after step {step}")
