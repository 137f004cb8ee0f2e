"""Private names of torch, each behind a function: a release may move them without notice.

tests/settings/test_torch_private.py names the release in which one of them is gone. Nothing here falls back in silence.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler

#: Schedules with a formula for the rate after any step, which torch computes from step to step otherwise.
CLOSED_FORMS = (
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ConstantLR,
    lr_scheduler.LinearLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.PolynomialLR,
    lr_scheduler.CosineAnnealingLR,
)

#: Methods by which torch's layers compute: a subclass that has one of its own computes something else.
COMPUTING = ("forward", "_conv_forward", "_output_padding", "__call__")


def writes(tensor: Tensor) -> int:
    """Return how often the memory of `tensor` has been written into in place, by which autograd finds stale values."""
    return tensor._version


def has_step_pre_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether something is done to the gradients before each step of `optimizer`, such as clipping."""
    return bool(optimizer._optimizer_step_pre_hooks)


def rates_of_step(scheduler: Any) -> list[float] | None:
    """Return the learning rates of a schedule that follow from its step alone; None for any other schedule.

    Others compute each rate from the one before: a cosine that has come to 0 would stay there, however long it is now.
    """
    if isinstance(scheduler, CLOSED_FORMS) or hasattr(scheduler, "_get_closed_form_lr"):  # the latter may be a user's
        return [float(rate) for rate in scheduler._get_closed_form_lr()]
    if isinstance(scheduler, lr_scheduler.LambdaLR | lr_scheduler.OneCycleLR):
        scheduler._get_lr_called_within_step = True  # or torch warns
        return [float(rate) for rate in scheduler.get_lr()]
    return None
