"""The step of a run: as it is, or captured and replayed, by `trainer.graph` and by what the run is made of."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from runner.settings import Trainer
from runner.training import step
from runner.training.capture import graph
from runner.training.capture.evaluation import CapturedCost
from runner.training.capture.hidden import Hidden
from runner.training.capture.rates import Rates, fuses
from runner.training.capture.step import CapturedStep
from runner.training.debugging import WITHIN
from runner.training.loop import Cost, Parts, State
from runner.training.parts import optimizers
from runner.training.parts.batches import is_own
from runner.training.parts.freezing import Frozen
from runner.training.parts.named import ByOutput, Reported
from runner.training.parts.own_losses import found
from runner.training.parts.scheduling import Schedule
from runner.training.parts.several import Optimizers
from runner.training.step import TrainStep, gradients

#: Steps of a run from which capturing pays for itself with `auto`: to find out takes as long as about 50 steps.
WORTH = 100


def choose(state: State, own: Any, trainer: Trainer, modules: Iterable[Any], steps: int, where: torch.device) -> Any:
    """Return the step of a run, a `TrainStep`.

    own: the user's own step, of `step.resolve`, or None.
    modules: the loss, the model and whatever else computes in a step.
    steps: of the whole training. where: the device.
    """
    taken, modules = step.choose(state, own), list(modules)
    rates = None
    tensors = trainer.graph is not None and trainer.precision != "fp64"  # torch reads a rate of 32 bits from a tensor
    if taken is step.plain and where.type != "cpu" and tensors and fuses(state.optimizer):
        rates = Rates(state.optimizer, where)
        taken = partial(_fused, rates=rates)
    refused = _refusal(taken, state, own, trainer, [*modules, state.optimizer], steps, where)
    if refused is not None:
        return AsItIs(taken if state.loss_parts is None else Reported(taken), refused) if own is None else taken
    exact = where.type == "cpu" or trainer.deterministic
    hidden = Hidden([*modules, state.optimizer])
    expected = None if trainer.graph is True else steps
    beside = [module for module in modules if module is not state.model]
    return CapturedStep(taken, where, rates, _clip(state, trainer, where), exact, beside, expected, hidden)


class AsItIs:
    """A step that is not captured, and the reason."""

    def __init__(self, eager: Callable[[State, Parts], Any], reason: str) -> None:
        self.eager, self.reason, self.taken = eager, reason, False

    def __call__(self, state: State, parts: Parts) -> Any:
        """Take one step and return its loss."""
        self.taken = True
        return self.eager(state, parts)


def leave_alone(taken: TrainStep, observers: Iterable[Any], schedule: Schedule, frozen: Frozen) -> None:
    """Let a captured step not look for changes between two steps if those who have the run then are all ours.

    frozen: layers of which some may be let go of between two steps.
    """
    if isinstance(taken, CapturedStep):
        scheduler = schedule.scheduler
        taken.watched = frozen.moves or any(map(is_own, observers)) or (scheduler is not None and is_own(scheduler))


def evaluation(cost: Cost, taken: TrainStep) -> Cost:
    """Return the cost of batches that are not trained on: captured, if the step that was chosen may be."""
    return CapturedCost(cost, taken) if isinstance(taken, CapturedStep) else cost


def described(taken: TrainStep) -> str:
    """Return how the steps of a run were taken, for its record: "captured", or "as it is" with the reason.

    "" where it took none itself, as one of many that are trained as one program.
    """
    if not isinstance(taken, CapturedStep | AsItIs):
        return "as it is: trainer.step names a step of your own"
    if not taken.taken:
        return ""
    if isinstance(taken, CapturedStep) and taken.captured and not taken.reason:
        return "captured"
    return f"as it is: {taken.reason or 'no shape of batches came often enough'}"


def note(taken: TrainStep, trainer: Trainer, where: torch.device) -> str:
    """Return a line that says why steps were not captured where that was to be expected; "" otherwise."""
    expected = trainer.graph is True or (trainer.graph == "auto" and where.type != "cpu")
    reason = getattr(taken, "reason", "")
    return f"steps were taken as they are, not captured: {reason}" if expected and reason else ""


def _fused(state: State, parts: Parts, rates: Rates) -> Tensor:
    """Take one step as `step.plain` does, with the learning rates in tensors."""
    loss = gradients(state, parts)
    rates.write()
    rates.step()
    return loss


def _refusal(
    taken: TrainStep, state: State, own: Any, trainer: Trainer, modules: Iterable[Any], steps: int, where: torch.device
) -> str | None:
    """Return why the step is not captured, or None."""
    if trainer.graph in (False, None):
        return f"trainer.graph={str(trainer.graph).lower().replace('none', 'null')}"
    if own is not None:
        return "trainer.step names a step of your own"
    if trainer.debug in WITHIN:
        return f"trainer.debug={trainer.debug} looks into steps"
    if trainer.carry or trainer.train_metrics:
        return f"trainer.{'carry' if trainer.carry else 'train_metrics'} does more in a step than torch can see"
    if isinstance(state.optimizer, Optimizers):
        return "several optimizers take a step each"
    if taken is step.searched:
        return "LBFGS evaluates the loss as often as it needs"
    if trainer.compile and where.type == "cpu":
        return "trainer.compile"
    if where.type != "cpu" and not graph.there_are(where):
        return f"torch has no graphs of {where.type}"
    if any(
        isinstance(module, ByOutput) or (isinstance(module, nn.Module) and found(module).names) for module in modules
    ):
        return "its loss has named parts"
    if trainer.graph is True:
        return None
    for module in modules:
        for part in module.modules() if isinstance(module, nn.Module) else [module]:
            if is_own(part):
                return f"{type(part).__name__} is of your own and may do more than torch can see; trainer.graph=true"
    return None if steps >= WORTH else f"it has {steps:,} steps, of which capturing would take as long as {WORTH}"


def _clip(state: State, trainer: Trainer, where: torch.device) -> Callable[[], None] | None:
    clips = trainer.clip_norm is not None or trainer.clip_value is not None
    if where.type != "cpu" or not clips:
        return None
    return optimizers.clipping(state.optimizer, trainer)
