"""Optimizer steps on the processor in few operations: torch's own arithmetic, of all parameters at once.

torch.optim takes a parameter at a time there, ten operations each, and finds out at every step which these are. The
operations here are the same ones on the same numbers (torch 2.13, `_single_tensor_*`), so the bits are the same; what
belongs to all parameters lies in one piece of memory, of which the optimizer's own state becomes views.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.data import ALIGNED
from runner.model import host
from runner.settings.torch_private import foreach

#: Takes a step of some parameters with the gradients that are in their places now.
Step = Callable[[], None]
#: Arguments of optimizers that choose other operations than these.
OTHERWISE = ("maximize", "capturable", "differentiable", "foreach", "fused")


@dataclass(frozen=True)
class Update:
    """The step of an optimizer.

    parameters: that it moves. gradients: where it reads the gradient of each, of its shape. take: moves them.
    """

    parameters: list[Tensor]
    gradients: list[Tensor]
    take: Step


def update(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> Update | None:
    """Return the step of `optimizer`, which has taken one already; None where torch's own is the only one.

    parameters: those with gradients, in the optimizer's order.
    """
    kind, with_gradients = type(optimizer), {id(p) for p in parameters}
    if kind not in KINDS or not all(p.is_contiguous() for p in parameters):
        return None
    steps, gradients = list[Step](), list[Tensor]()
    for group in optimizer.param_groups:
        own = [p for p in group["params"] if id(p) in with_gradients]
        if any(group.get(name) for name in OTHERWISE) or len({p.dtype for p in own}) > 1 or any(map(_is_odd, own)):
            return None
        if own:
            if len({repr(optimizer.state.get(p, {}).get("step")) for p in own}) > 1:
                return None
            if len({optimizer.state.get(p, {}).get("momentum_buffer") is None for p in own}) > 1:
                return None
            of = _Parameters(optimizer, own)
            steps.append(KINDS[kind](group, of))
            gradients += of.gradients

    def take() -> None:
        for step in steps:
            step()

    return Update(list(parameters), gradients, steps[0] if len(steps) == 1 else take)


def _is_odd(parameter: Tensor) -> bool:
    return parameter.is_complex() or parameter.layout is not torch.strided


class _Parameters:
    """Parameters of one group, with their gradients and their optimizer's state in one piece of memory for each name.

    Each parameter's part begins where memory of its own could: elsewhere a product may add up in another order.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        self.each = [p.detach() for p in parameters]
        self._optimizer, self._parameters = optimizer, parameters
        unit = ALIGNED // self.each[0].element_size()
        self._sizes = [-(-p.numel() // unit) * unit for p in self.each]
        self._owners = [optimizer.state.get(p, {}) for p in parameters]
        self.gradient = self.room()  # of all, of shape (numbers,)
        self.gradients = self.parts(self.gradient)

    def state(self, name: str) -> Tensor:
        """Return the state `name` of all, of shape (numbers,); that of each becomes a view of it."""
        flat = self.room()
        for state, part in zip(self._owners, self.parts(flat), strict=True):
            state[name] = part.copy_(state[name])
        return flat

    def has(self, name: str) -> bool:
        """Return whether the optimizer holds the state `name`, of all or of none."""
        return all(state.get(name) is not None for state in self._owners)

    def begin(self, name: str, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the state `name`, which the optimizer holds only from this step on: copies of `values`."""
        self._owners = [self._optimizer.state[p] for p in self._parameters]
        for state, value in zip(self._owners, values, strict=True):
            state[name] = value.clone()
        return self.parts(self.state(name))

    def steps(self) -> Tensor:
        """Return the numbers of steps so far, of shape (parameters,)."""
        steps = torch.stack([state["step"] for state in self._owners])
        for state, count in zip(self._owners, steps.unbind(), strict=True):
            state["step"] = count
        return steps

    def room(self) -> Tensor:
        """Return memory for a number of each parameter's, all 0."""
        return torch.zeros(sum(self._sizes), dtype=self.each[0].dtype)

    def decayed(self, decay: float) -> Tensor:
        """Return the gradient of all with `decay` times the parameters added to it."""
        decayed = self.gradient.clone()
        foreach("add_")(self.parts(decayed), self.each, alpha=decay)
        return decayed

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Return the views of `flat` that are each parameter's."""
        numbers = torch.split(flat, self._sizes)
        return [part[: p.numel()].view(p.shape) for part, p in zip(numbers, self.each, strict=True)]


def _sgd(group: dict[str, Any], of: _Parameters) -> Step:
    buffers = of.parts(of.state("momentum_buffer")) if of.has("momentum_buffer") else []

    def step() -> None:
        m, gradients = group["momentum"], of.gradients  # a schedule may take a momentum to 0 and back
        if group["weight_decay"]:
            gradients = foreach("add")(gradients, of.each, alpha=group["weight_decay"])
        if m and not buffers:
            buffers.extend(of.begin("momentum_buffer", gradients))
        elif m:
            foreach("mul_")(buffers, m)
            foreach("add_")(buffers, gradients, alpha=1 - group["dampening"])
        if m:
            gradients = foreach("add")(gradients, buffers, alpha=m) if group["nesterov"] else buffers
        foreach("add_")(of.each, gradients, alpha=-float(group["lr"]))

    return step


def _adam(group: dict[str, Any], of: _Parameters, decoupled: bool) -> Step:
    mean, square, steps, root = of.state("exp_avg"), of.state("exp_avg_sq"), of.steps(), of.room()
    largest = of.state("max_exp_avg_sq") if group["amsgrad"] else square
    means, roots, first = of.parts(mean), of.parts(root), steps[0]

    def step() -> None:
        lr, (beta1, beta2), decay = float(group["lr"]), group["betas"], group["weight_decay"]
        steps.add_(1)
        taken = host.number(first)
        if decay and decoupled:
            foreach("mul_")(of.each, 1 - lr * decay)
        grad = of.decayed(decay) if decay and not decoupled else of.gradient
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if largest is not square:
            torch.maximum(largest, square, out=largest)
        torch.sqrt(largest, out=root)
        root.div_((1 - beta2**taken) ** 0.5).add_(group["eps"])
        foreach("addcdiv_")(of.each, means, roots, -(lr / (1 - beta1**taken)))

    return step


def _rmsprop(group: dict[str, Any], of: _Parameters) -> Step:
    square, steps, root = of.state("square_avg"), of.steps(), of.room()
    centre = of.state("grad_avg") if group["centered"] else None
    buffer = of.state("momentum_buffer") if of.has("momentum_buffer") else None
    roots = of.parts(root)
    buffers = [] if buffer is None else of.parts(buffer)

    def step() -> None:
        lr, alpha = float(group["lr"]), group["alpha"]
        steps.add_(1)
        grad = of.decayed(group["weight_decay"]) if group["weight_decay"] else of.gradient
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if centre is None:
            torch.sqrt(square, out=root)
        else:
            centre.lerp_(grad, 1 - alpha)
            torch.addcmul(square, centre, centre, value=-1, out=root).sqrt_()
        root.add_(group["eps"])
        if buffer is None or not (momentum := group["momentum"]) > 0:
            foreach("addcdiv_")(of.each, of.parts(grad), roots, -lr)
        else:
            buffer.mul_(momentum).addcdiv_(grad, root)
            foreach("add_")(of.each, buffers, alpha=-lr)

    return step


KINDS: dict[type, Callable[[dict[str, Any], _Parameters], Step]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: lambda group, of: _adam(group, of, bool(group.get("decoupled_weight_decay"))),
    torch.optim.AdamW: lambda group, of: _adam(group, of, True),
    torch.optim.RMSprop: _rmsprop,
}
