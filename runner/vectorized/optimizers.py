"""One optimizer step of many models at once, each with its own learning rate and the like.

The formulas are those of torch.optim's for one model, operation by operation (torch 2.13, `_single_tensor_*`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.vectorized.stacked import Stacked
from runner.vectorized.unstackable import Unstackable

#: Numbers of the stack that are worked on together: what is written stays in the processor's cache until it is read.
BLOCK = 2**16
#: Numbers of one model from which torch's fused Adam, called for each model, is faster than one call for all.
FUSED = 4000

Optimizers = Sequence[torch.optim.Optimizer]


@dataclass
class Rule:
    """How one kind of optimizer takes its step."""

    names: tuple[str, ...]  # what it keeps for every parameter, as torch calls it
    counts: bool  # whether it keeps the number of steps
    #: (the settings of a model's optimizer, its steps with this one) -> the numbers that the formula needs.
    numbers: Callable[[dict[str, Any], int], tuple[float, ...]]
    #: (parameters, gradients, *kept, *numbers): changes the first, and what is kept, in place.
    formula: Callable[..., None]
    fused: Callable[..., None] | None = None  # torch's own for one model, of lists with a tensor for each parameter


class Update:
    """Takes the step. Each optimizer's own state becomes a view of what is kept here."""

    def __init__(self, stacked: Stacked, optimizers: Optimizers) -> None:
        self.stacked, self.optimizers = stacked, optimizers
        self.rule = rule(optimizers[0])
        self.kept = [self._gathered(name) for name in self.rule.names]  # (N, P) each
        counts = [[float(_state(o, p).get("step", 0.0)) for p in _parameters(o)] for o in optimizers]
        self.steps = torch.tensor(counts, dtype=torch.float32)
        self._taken = [_taken(optimizer) for optimizer in optimizers]
        on_cpu, (n, size) = stacked.flat.device.type == "cpu", stacked.flat.shape
        rows = max(1, BLOCK // size) if on_cpu else n
        self._blocks = [slice(i, i + rows) for i in range(0, n, rows)]
        self._fuses = on_cpu and self.rule.fused is not None and size >= FUSED
        self._settings: Any = None
        self._columns: list[Tensor] = []  # (N, 1) each
        self._handed_out = False
        self._lists: list[list[list[Tensor]]] = []

    def step(self) -> None:
        """With the gradients as they are in the stack."""
        self.steps += 1
        self._taken = [taken + 1 for taken in self._taken]
        groups = [optimizer.param_groups[0] for optimizer in self.optimizers]
        if self._fuses:
            self._step_fused(groups)
        else:
            columns = self._read(groups)
            parts = (self.stacked.flat, self.stacked.flat_gradients(), *self.kept)
            for block in self._blocks:
                self.rule.formula(*(part[block] for part in parts), *(column[block] for column in columns))
        if not self._handed_out:
            self._hand_out()

    def _step_fused(self, groups: list[dict[str, Any]]) -> None:
        """Model by model: each thing as a list of tensors, one for each parameter."""
        assert self.rule.fused is not None
        gradients = _by_model(list(self.stacked.gradients.values()))
        if not self._lists:
            self._lists = [_by_model(self.stacked.parts(part)) for part in (self.stacked.flat, *self.kept)]
            self._counts = [list(row.unbind()) for row in self.steps.unbind()]
        flat, *kept = self._lists
        for i, group in enumerate(groups):
            self.rule.fused(group, self._counts[i], flat[i], gradients[i], *(part[i] for part in kept))

    def _read(self, groups: list[dict[str, Any]]) -> list[Tensor]:
        """The numbers, anew where a schedule or the count of steps has changed them."""
        found = [self.rule.numbers(group, taken) for group, taken in zip(groups, self._taken, strict=True)]
        if found != self._settings:
            self._settings, like = found, self.stacked.flat
            table = torch.tensor(found, dtype=torch.float64).to(like.device, like.dtype)
            self._columns = [column.unsqueeze(1) for column in table.unbind(1)]
        return self._columns

    def _gathered(self, name: str) -> Tensor:
        rows = []
        for optimizer in self.optimizers:
            found = [(_state(optimizer, p).get(name), p) for p in _parameters(optimizer)]
            rows.append(torch.cat([(torch.zeros_like(p) if v is None else v).detach().reshape(-1) for v, p in found]))
        return torch.stack(rows)

    def _hand_out(self) -> None:
        self._handed_out = True
        if not self.rule.names:
            return
        for i, optimizer in enumerate(self.optimizers):
            start = 0
            for j, parameter in enumerate(_parameters(optimizer)):
                end = start + parameter.numel()
                state = optimizer.state[parameter]
                if self.rule.counts:
                    state["step"] = self.steps[i, j]
                for name, kept in zip(self.rule.names, self.kept, strict=True):
                    state[name] = kept[i, start:end].view(parameter.shape)
                start = end


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return list(optimizer.param_groups[0]["params"])


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    return dict(optimizer.state.get(parameter, {}))


def _by_model(parts: Sequence[Tensor]) -> list[list[Tensor]]:
    """Of (N, *shape) of each parameter: for each model a list of its own."""
    return [list(row) for row in zip(*(part.unbind() for part in parts), strict=True)]


def _taken(optimizer: torch.optim.Optimizer) -> int:
    """How many steps its state has come through. SGD does not count: 0 or some."""
    state = _state(optimizer, _parameters(optimizer)[0])
    return int(state.get("step", state.get("momentum_buffer") is not None))


def rule(optimizer: torch.optim.Optimizer) -> Rule:
    """Raises Unstackable for an optimizer that takes its steps for one model only."""
    kind, group = type(optimizer), optimizer.param_groups[0]
    if kind not in RULES:
        raise Unstackable(f"{kind.__name__} is not stacked")
    for flag in ("maximize", "capturable", "differentiable"):
        if group.get(flag):
            raise Unstackable(f"{kind.__name__} with {flag}=true is not stacked")
    return RULES[kind](group)


def _sgd(group: dict[str, Any]) -> Rule:
    momentum, nesterov = group["momentum"] != 0, group["nesterov"]

    def numbers(group: dict[str, Any], taken: int) -> tuple[float, ...]:
        # The first step keeps the whole gradient, whatever the dampening.
        share = 1 - group["dampening"] if taken > 1 else 1.0
        return (-float(group["lr"]), group["weight_decay"], group["momentum"], share)

    def formula(p: Tensor, grad: Tensor, *rest: Tensor) -> None:
        *kept, rate, decay, m, share = rest
        grad = torch.addcmul(grad, p, decay)
        if momentum:
            [buffer] = kept
            buffer.mul_(m).addcmul_(grad, share)
            grad = torch.addcmul(grad, buffer, m) if nesterov else buffer
        p.addcmul_(grad, rate)

    return Rule(("momentum_buffer",) if momentum else (), False, numbers, formula)


def _adam(group: dict[str, Any], decoupled: bool) -> Rule:
    amsgrad = group["amsgrad"]

    def numbers(group: dict[str, Any], taken: int) -> tuple[float, ...]:
        lr, (beta1, beta2), decay = float(group["lr"]), group["betas"], group["weight_decay"]
        corrected1, corrected2 = 1 - beta1**taken, 1 - beta2**taken
        decay = 1 - lr * decay if decoupled else decay
        return (-lr / corrected1, decay, 1 - beta1, beta2, 1 - beta2, corrected2**0.5, group["eps"])

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

    def fused(group: dict[str, Any], steps: list[Tensor], p: list[Tensor], *rest: list[Tensor]) -> None:
        take = torch._fused_adamw_ if decoupled else torch._fused_adam_
        grad, mean, square, *most = rest
        take(
            p,
            grad,
            mean,
            square,
            most[0] if most else [],
            steps,
            lr=float(group["lr"]),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=amsgrad,
            maximize=False,
        )

    names = ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else []))
    return Rule(names, True, numbers, formula, fused)


def _rmsprop(group: dict[str, Any]) -> Rule:
    momentum, centered = group["momentum"] > 0, group["centered"]

    def numbers(group: dict[str, Any], taken: int) -> tuple[float, ...]:
        alpha, m = group["alpha"], group["momentum"]
        return (-float(group["lr"]), group["weight_decay"], alpha, 1 - alpha, group["eps"], m)

    def formula(p: Tensor, grad: Tensor, square: Tensor, *rest: Tensor) -> None:
        *kept, rate, decay, alpha, new, eps, m = rest
        grad = torch.addcmul(grad, p, decay)
        square.mul_(alpha).addcmul_(grad * new, grad)
        if centered:
            kept[-1].lerp_(grad, new)
            root = torch.addcmul(square, kept[-1], kept[-1], value=-1).sqrt_().add_(eps)
        else:
            root = square.sqrt().add_(eps)
        if momentum:
            kept[0].mul_(m).addcdiv_(grad, root)
            p.addcmul_(kept[0], rate)
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
