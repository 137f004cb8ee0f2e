"""The loss of many models at once, one number for each."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.model.conventions import is_torchs

#: Losses that are the mean or the sum over all numbers of what each costs.
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss)
#: (outputs, targets), both of shape (N, batch, ...) -> (N,).
Losses = Callable[[Tensor, Tensor], Tensor]


def losses(loss: nn.Module) -> Losses:
    """Return a function of outputs and targets, both of shape (N, batch, ...), that returns `loss` of each model, (N,).

    The fastest way that gives the same numbers is chosen by the class of `loss`; the last is one model at a time.
    """
    if isinstance(loss, ELEMENTWISE) and is_torchs(loss):
        return _elementwise(loss)
    # Where targets may be left out, the class is `losses.Counted`.
    if type(loss) is nn.CrossEntropyLoss and loss.weight is None:
        return _cross_entropy(loss)
    return lambda output, target: torch.stack([loss(o, t) for o, t in zip(output, target, strict=True)])


def _elementwise(loss: Any) -> Losses:
    each, total = _each(loss)
    return lambda output, target: total(each(output, target).flatten(1))


def _cross_entropy(loss: Any) -> Losses:
    each, total = _each(loss)

    def many(output: Tensor, target: Tensor) -> Tensor:
        if output.dim() == 3:
            # Classes second, as if the batch were an image: many times as fast as few classes in the last dimension.
            target = target.mT if target.is_floating_point() else target
            return total(each(output.mT, target))
        return total(each(output.flatten(0, 1), target.flatten(0, 1)).reshape(len(output), -1))

    return many


def _each(loss: Any) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """Return the loss of every number by itself, and the function that reduces (N, numbers) to (N,)."""
    each = copy.copy(loss)
    each.reduction = "none"
    return each, (lambda x: x.sum(1)) if loss.reduction == "sum" else (lambda x: x.mean(1))
