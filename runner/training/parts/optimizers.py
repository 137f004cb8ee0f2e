"""The optimizer: look it up, make it over a model's parameters, and clip gradients before its steps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from runner.settings import Component, Trainer, torch_private
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Bound, Kind
from runner.training.capture import graph
from runner.training.loop import Cost, State
from runner.training.parts import groups, several
from runner.training.parts.groups import Grouped

#: Optimizers that have a fused step on every accelerator with graphs.
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)

OPTIMIZER = Kind(
    "an optimizer",
    ("torch.optim",),
    lambda v: isinstance(v, type) and issubclass(v, torch.optim.Optimizer) and v is not torch.optim.Optimizer,
    own="a class that inherits from torch.optim.Optimizer",
)


def resolve(spec: Component, compiles: bool = False, key: str = "optimizer") -> Grouped:
    """Look up the optimizer's class and check its arguments and those of its groups. Raises ConfigError.

    spec: of one optimizer, or of several by their names. key: of it.
    compiles: of the run; without, torch's compiler is not loaded for an optimizer's sake, which takes a second.
    """
    if several.is_several(spec):
        return several.resolve(spec, lambda one, key: resolve(one, compiles, key))
    name, arguments = lookup.component(spec, key)
    target = lookup.find(name, OPTIMIZER, f"{key}.name")
    further = arguments.pop("groups", None)
    lookup.refuse(arguments, ["params"], key, "is filled in with the model's parameters; leave it out")
    lookup.bind(target, arguments, key, free=["params"])
    ranges.check(target, arguments, ranges.OPTIMIZER, key)
    if not compiles:
        torch_private.spare_dynamo(target)
    grouped = groups.read(target, arguments, further)
    usual = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return Grouped(target, usual, key, grouped)


def build(bound: Grouped, model: nn.Module, fuses: bool = False) -> torch.optim.Optimizer:
    """Make the optimizer over all of the model's parameters that are trained. fuses: with torch's fused steps."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:  # pooling alone has nothing to learn, and torch refuses an empty list
        return bound.make([nn.Parameter(torch.zeros(()))])  # type: ignore[no-any-return]
    fuses = fuses and all(p.is_floating_point() for p in parameters)
    return (bound.but(fused=True) if fuses else bound).make(bound.of(model, parameters))  # type: ignore[no-any-return]


def takes_fused(bound: Bound, trainer: Trainer, where: torch.device) -> bool:
    """Return whether a run's optimizer takes torch's fused steps, which an accelerator can capture with all numbers.

    Where the settings name one of torch's ways themselves, that is taken.
    """
    ways = ("fused", "foreach", "capturable", "differentiable")
    return (
        trainer.graph is not None
        and where.type != "cpu"
        and graph.there_are(where)
        and bound.target in FUSED
        and not any(way in bound.arguments for way in ways)
    )


def state(model: nn.Module, bound: Grouped, cost: Cost, trainer: Trainer, where: torch.device) -> State:
    """Put a model on its device, and make its optimizer with clipping, loss scaling and compilation as in `trainer`.

    bound: the optimizer. cost: of a batch, see `losses.cost`. where: the device.
    """
    model.to(where, torch.float64 if trainer.precision == "fp64" else None)
    if trainer.compile:
        model.compile(backend=trainer.compile if isinstance(trainer.compile, str) else "inductor")
    state = State(
        model,
        build(bound, model, takes_fused(bound, trainer, where)),
        cost,
        torch.amp.GradScaler(where.type, enabled=trainer.precision == "fp16"),
    )
    clip(state.optimizer, trainer)
    return state


def clip(optimizer: torch.optim.Optimizer, trainer: Trainer) -> None:
    """Let every step of `optimizer` begin with clipping the gradients, by trainer.clip_norm and trainer.clip_value.

    Of several optimizers, those of a step of the user's own have gradients of their own, and those that lower one loss
    together its gradient, whose norm is that of all parameters.
    """
    if trainer.clip_norm is not None or trainer.clip_value is not None:
        for one in several.each_of(optimizer).values() if trainer.step is not None else (optimizer,):
            one.register_step_pre_hook(clipping(one, trainer))


def clipping(optimizer: torch.optim.Optimizer, trainer: Trainer) -> Callable[..., None]:
    """Return the function that clips the gradients of the optimizer's parameters, also as a hook of its steps.

    A function of this module and no `partial`, which would be taken for a hook of the user's own.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def clips(*_: Any) -> None:
        if trainer.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
        if trainer.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, trainer.clip_value)

    return clips
