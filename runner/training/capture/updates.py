"""Optimizer steps on the processor in few operations: torch's own arithmetic, of all parameters at once.

torch.optim takes a parameter at a time there, ten operations each, and finds out at every step which these are. The
operations here are the same ones on the same numbers (torch 2.13, `_single_tensor_*`), so the bits are the same; what
belongs to all parameters lies in one piece of memory, of which the optimizer's own state becomes views.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.model import host
from runner.settings.torch_private import foreach

#: Takes a step with these gradients, one for each parameter of `update`.
Update = Callable[[Sequence[Tensor]], None]
#: Arguments of optimizers that choose other operations than these.
OTHERWISE = ("maximize", "capturable", "differentiable", "foreach", "fused")


def update(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> Update | None:
    """Return the step of `optimizer`, which has taken one already; None where torch's own is the only one.

    parameters: those with gradients, in the optimizer's order.
    """
    kind, with_gradients = type(optimizer), {id(p) for p in parameters}
    if kind not in KINDS or not all(p.is_contiguous() for p in parameters):
        return None
    steps, start = [], 0
    for group in optimizer.param_groups:
        own = [p for p in group["params"] if id(p) in with_gradients]
        if any(group.get(name) for name in OTHERWISE) or len({p.dtype for p in own}) > 1 or any(map(_is_odd, own)):
            return None
        if own:
            if len({repr(optimizer.state.get(p, {}).get("step")) for p in own}) > 1:
                return None
            if len({optimizer.state.get(p, {}).get("momentum_buffer") is None for p in own}) > 1:
                return None
            steps.append((slice(start, start + len(own)), KINDS[kind](group, _Parameters(optimizer, own))))
            start += len(own)

    @torch.no_grad()
    def step(gradients: Sequence[Tensor]) -> None:
        for part, of_group in steps:
            of_group(gradients[part])

    return step


def _is_odd(parameter: Tensor) -> bool:
    return parameter.is_complex() or parameter.layout is not torch.strided


class _Parameters:
    """Parameters of one group, with their optimizer's state in one piece of memory for each of its names."""

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        self.each = [p.detach() for p in parameters]
        self._optimizer, self._parameters = optimizer, parameters
        self._owners = [optimizer.state.get(p, {}) for p in parameters]

    def state(self, name: str) -> Tensor:
        """Return the state `name` of all, of shape (numbers,); that of each becomes a view of it."""
        flat = torch.cat([state[name].reshape(-1) for state in self._owners])
        for state, part in zip(self._owners, self.parts(flat), strict=True):
            state[name] = part
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
        """Return memory for a number of each parameter's."""
        return torch.cat([p.reshape(-1) for p in self.each])

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Return the views of `flat` that are each parameter's."""
        numbers = torch.split(flat, [p.numel() for p in self.each])
        return [part.view(p.shape) for part, p in zip(numbers, self.each, strict=True)]


def _sgd(group: dict[str, Any], of: _Parameters) -> Update:
    buffers = of.parts(of.state("momentum_buffer")) if of.has("momentum_buffer") else []

    def step(gradients: Sequence[Tensor]) -> None:
        m = group["momentum"]  # a schedule may take it to 0 and back
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


def _adam(group: dict[str, Any], of: _Parameters, decoupled: bool) -> Update:
    mean, square, steps, grad, root = of.state("exp_avg"), of.state("exp_avg_sq"), of.steps(), of.room(), of.room()
    largest = of.state("max_exp_avg_sq") if group["amsgrad"] else square
    means, roots, grads, first = of.parts(mean), of.parts(root), of.parts(grad), steps[0]

    def step(gradients: Sequence[Tensor]) -> None:
        lr, (beta1, beta2), decay = float(group["lr"]), group["betas"], group["weight_decay"]
        torch.cat([g.view(-1) for g in gradients], out=grad)
        steps.add_(1)
        taken = host.number(first)
        if decay and decoupled:
            foreach("mul_")(of.each, 1 - lr * decay)
        elif decay:
            foreach("add_")(grads, of.each, alpha=decay)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if largest is not square:
            torch.maximum(largest, square, out=largest)
        torch.sqrt(largest, out=root)
        root.div_((1 - beta2**taken) ** 0.5).add_(group["eps"])
        foreach("addcdiv_")(of.each, means, roots, -(lr / (1 - beta1**taken)))

    return step


def _rmsprop(group: dict[str, Any], of: _Parameters) -> Update:
    square, steps, grad, root = of.state("square_avg"), of.steps(), of.room(), of.room()
    centre = of.state("grad_avg") if group["centered"] else None
    buffer = of.state("momentum_buffer") if of.has("momentum_buffer") else None
    grads, roots = of.parts(grad), of.parts(root)
    buffers = [] if buffer is None else of.parts(buffer)

    def step(gradients: Sequence[Tensor]) -> None:
        lr, alpha = float(group["lr"]), group["alpha"]
        torch.cat([g.view(-1) for g in gradients], out=grad)
        steps.add_(1)
        if group["weight_decay"]:
            foreach("add_")(grads, of.each, alpha=group["weight_decay"])
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if centre is None:
            torch.sqrt(square, out=root)
        else:
            centre.lerp_(grad, 1 - alpha)
            torch.addcmul(square, centre, centre, value=-1, out=root).sqrt_()
        root.add_(group["eps"])
        if buffer is None or not (momentum := group["momentum"]) > 0:
            foreach("addcdiv_")(of.each, grads, roots, -lr)
        else:
            buffer.mul_(momentum).addcdiv_(grad, root)
            foreach("add_")(of.each, buffers, alpha=-lr)

    return step


KINDS: dict[type, Callable[[dict[str, Any], _Parameters], Update]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: lambda group, of: _adam(group, of, bool(group.get("decoupled_weight_decay"))),
    torch.optim.AdamW: lambda group, of: _adam(group, of, True),
    torch.optim.RMSprop: _rmsprop,
}
