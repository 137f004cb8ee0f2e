"""Formulas of optimizers for a step of many models at once, each with its own learning rate and other numbers.

The formulas are those of torch.optim's for one model, operation by operation (torch 2.13, `_single_tensor_*`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.settings import torch_private
from runner.training.vectorized.schedules import Columns
from runner.training.vectorized.stacked import Unstackable

#: Of shape (steps, kinds), or a number that is the same in all of them.
Values = Any


@dataclass
class Rule:
    """The step of one class of optimizers, for many models."""

    names: tuple[str, ...]  # of its state for every parameter, as in torch
    counts: bool  # the number of steps is part of the state
    #: (settings of optimizers, their steps with this one) -> the numbers that the formula needs, for steps and kinds.
    numbers: Callable[[Columns, NDArray[np.int64]], tuple[Values, ...]]
    #: (parameters, gradients, *state, *numbers): changes parameters and state in place.
    formula: Callable[..., None]
    #: torch's own, for equal settings: (settings, steps, parameters, gradients, *state), lists of tensors. The learning
    #: rate may be a tensor.
    fused: Callable[..., None] | None = None


def rule(optimizer: torch.optim.Optimizer) -> Rule:
    """Return the rule of an optimizer. Raises Unstackable for one that takes its steps for one model only."""
    kind, group = type(optimizer), optimizer.param_groups[0]
    if kind not in RULES:
        raise Unstackable(f"{kind.__name__} is not stacked")
    for flag in ("maximize", "capturable", "differentiable"):
        if group.get(flag):
            raise Unstackable(f"{kind.__name__} with {flag}=true is not stacked")
    if "momentum" in group and 0 in (group.get("base_momentum"), group.get("max_momentum")):
        raise Unstackable("a momentum that the schedule takes to 0 is not stacked")  # torch's steps are others then
    return RULES[kind](group)


def _sgd(group: dict[str, Any]) -> Rule:
    momentum, nesterov = group["momentum"] != 0, group["nesterov"]

    def numbers(of: Columns, taken: NDArray[np.int64]) -> tuple[Values, ...]:
        # Dampening does not apply to the first step.
        share = np.where(taken > 1, 1 - of["dampening"], 1.0)
        return (-of["lr"], of["weight_decay"], of["momentum"], share)

    def formula(p: Tensor, grad: Tensor, *rest: Tensor) -> None:
        *state, rate, decay, m, share = rest
        grad = torch.addcmul(grad, p, decay)
        if momentum:
            [buffer] = state
            buffer.mul_(m).addcmul_(grad, share)
            grad = torch.addcmul(grad, buffer, m) if nesterov else buffer
        p.addcmul_(grad, rate)

    return Rule(("momentum_buffer",) if momentum else (), False, numbers, formula)


def _adam(group: dict[str, Any], decoupled: bool) -> Rule:
    amsgrad = group["amsgrad"]

    def numbers(of: Columns, taken: NDArray[np.int64]) -> tuple[Values, ...]:
        lr, beta1, beta2, decay = of["lr"], of["beta1"], of["beta2"], of["weight_decay"]
        corrected1, corrected2 = 1 - beta1**taken, 1 - beta2**taken
        decay = 1 - lr * decay if decoupled else decay
        return (-lr / corrected1, decay, 1 - beta1, beta2, 1 - beta2, corrected2**0.5, of["eps"])

    def formula(p: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *rest: Tensor) -> None:
        *most, rate, decay, new1, beta2, new2, root, eps = rest
        if decoupled:
            p.mul_(decay)
        else:
            grad = torch.addcmul(grad, p, decay)
        mean.lerp_(grad, new1)
        square.mul_(beta2).addcmul_(grad * new2, grad)
        if amsgrad:
            torch.maximum(most[0], square, out=most[0])
        denominator = (most[0] if amsgrad else square).sqrt().div_(root).add_(eps)
        p.addcdiv_(mean * rate, denominator)

    def fused(of: dict[str, Any], steps: list[Tensor], p: list[Tensor], *rest: list[Tensor]) -> None:
        take = torch_private.fused_adam(decoupled)
        grad, mean, square, *most = rest
        take(
            p,
            grad,
            mean,
            square,
            most[0] if most else [],
            steps,
            lr=of["lr"],
            beta1=of["beta1"],
            beta2=of["beta2"],
            weight_decay=of["weight_decay"],
            eps=of["eps"],
            amsgrad=amsgrad,
            maximize=False,
        )

    names = ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else []))
    return Rule(names, True, numbers, formula, fused)


def _rmsprop(group: dict[str, Any]) -> Rule:
    momentum, centered = group["momentum"] > 0, group["centered"]

    def numbers(of: Columns, taken: NDArray[np.int64]) -> tuple[Values, ...]:
        alpha = of["alpha"]
        return (-of["lr"], of["weight_decay"], alpha, 1 - alpha, of["eps"], of["momentum"])

    def formula(p: Tensor, grad: Tensor, square: Tensor, *rest: Tensor) -> None:
        *state, rate, decay, alpha, new, eps, m = rest
        grad = torch.addcmul(grad, p, decay)
        square.mul_(alpha).addcmul_(grad * new, grad)
        if centered:
            state[-1].lerp_(grad, new)
            root = torch.addcmul(square, state[-1], state[-1], value=-1).sqrt_().add_(eps)
        else:
            root = square.sqrt().add_(eps)
        if momentum:
            state[0].mul_(m).addcdiv_(grad, root)
            p.addcmul_(state[0], rate)
        else:
            p.addcdiv_(grad * rate, root)

    names = ("square_avg", *(["momentum_buffer"] if momentum else []), *(["grad_avg"] if centered else []))
    return Rule(names, True, numbers, formula)


RULES: dict[type, Callable[[dict[str, Any]], Rule]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: lambda group: _adam(group, bool(group.get("decoupled_weight_decay"))),
    torch.optim.AdamW: lambda group: _adam(group, True),
    torch.optim.RMSprop: _rmsprop,
}
