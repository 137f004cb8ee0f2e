"""One optimizer step: from the batches of a step to the loss that it lowers, and the parameters after it.

`step(state, parts) -> loss` is the seam of the loop: what a step does is chosen here and nowhere else.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from runner.settings.errors import ConfigError
from runner.settings.values import lookup
from runner.settings.values.lookup import Bound, Kind
from runner.training.loop import Parts, State

STEP = Kind("a step of your own", (), lambda v: (inspect.isclass(v) or inspect.isfunction(v)) and lookup.is_users(v))

#: Methods of a step that has a state, which checkpoints then hold.
STATE = ("state_dict", "load_state_dict")

#: Takes a step and returns its loss, a tensor without dimensions; or several by name, the one that counts as "loss".
TrainStep = Callable[[State, Parts], Tensor | Mapping[str, Tensor]]


def resolve(spec: Any) -> Bound | None:
    """Look up the step that `trainer.step` names and check its arguments; None where it names none.

    It is a function of (state, parts), or a class that is made with the state and called with (state, parts). A class
    may have the methods of STATE, whose values are then saved in checkpoints. Raises ConfigError.
    """
    if spec is None:
        return None
    name, arguments = lookup.component({"name": spec} if isinstance(spec, str) else spec, "trainer.step")
    if "." not in str(name):
        raise ConfigError("trainer.step", f"{name!r} is no dotted name; expected one such as experiments.mine.step")
    target = lookup.find(name, STEP, "trainer.step")
    filled = ["state"] if isinstance(target, type) else ["state", "parts"]
    takes = list(lookup.parameters(target))[: len(filled)]
    if len(takes) < len(filled) or (isinstance(target, type) and "__call__" not in dir(target)):
        raise ConfigError("trainer.step", f"{name!r} takes no {' and '.join(filled)}; expected step(state, parts)")
    if len(there := [one for one in STATE if one in dir(target)]) == 1:
        raise ConfigError("trainer.step", f"{name!r} has {there[0]} alone; expected both of {' and '.join(STATE)}")
    lookup.refuse(arguments, takes, "trainer.step", "is filled in; leave it out")
    lookup.bind(target, arguments, "trainer.step", free=takes)
    return Bound(target, arguments, "trainer.step")


def choose(state: State, own: Bound | None = None) -> TrainStep:
    """Return the step of a run: the user's own, or the one that fits the optimizer and the precision.

    state: of the run; a step that is a class may read it, and take parameters from its model for optimizers of its own.
    """
    if own is not None:
        return own.make(state) if isinstance(own.target, type) else partial(own.target, **own.arguments)
    if isinstance(state.optimizer, torch.optim.LBFGS):
        return searched
    return scaled if state.scaler.is_enabled() else plain


def plain(state: State, parts: Parts) -> Tensor:
    """Take one step with the gradients of all batches, and return the loss before it, of shape ()."""
    loss = gradients(state, parts)
    state.optimizer.step()
    return loss


def scaled(state: State, parts: Parts) -> Tensor:
    """Take a step with loss scaling, for fp16; a step whose gradients overflow is skipped."""
    loss = gradients(state, parts)
    descend(state)
    return loss


def searched(state: State, parts: Parts) -> Tensor:
    """Take a step of an optimizer that evaluates the loss several times, as LBFGS does."""
    loss: Any = state.optimizer.step(partial(gradients, state, parts))  # type: ignore[arg-type]
    return loss  # type: ignore[no-any-return]


def descend(state: State, name: str = "") -> None:
    """Take a step of the optimizer with the gradients that are there, those of fp16 after they are scaled back.

    name: of the optimizer, where the settings name several.
    """
    optimizer = state.optimizers[name] if name else state.optimizer
    state.scaler.unscale_(optimizer)  # so that clipping sees true gradients
    state.scaler.step(optimizer)
    state.scaler.update()


def gradients(state: State, parts: Parts) -> Tensor:
    """Compute the gradients of the step's loss into the parameters' `grad`, and return that loss.

    With fp16 they are scaled, and `descend` scales them back. Gradients of before are removed from the parameters of
    `state.optimizer` alone: those of other parameters add up until a step of one's own removes them.
    """
    forget_gradients(state.optimizer)
    total: Tensor | None = None
    for share, batch in parts:
        loss, _ = state.cost(state.model, batch)
        loss = loss if len(parts) == 1 else (loss * share).to(loss.dtype)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return total


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Remove all gradients as `zero_grad` does, without its profiler record, a tenth of a small model's step."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
