"""Tries a step of the user's own (`trainer.step`) on a copy of the run's state, before a run exists."""

import io
import pickle
from collections.abc import Iterable
from typing import Any

import torch

from runner.data import Batch
from runner.settings import Trainer
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import Bound, failure
from runner.training.events import taken
from runner.training.loop import State
from runner.training.state import checkpoint
from runner.training.step import STATE, choose

#: How LBFGS, which evaluates the loss itself, takes its step.
CLOSURE = "; LBFGS takes a function: state.optimizer.step(functools.partial(gradients, state, parts))"


class WatchedScaler(torch.amp.GradScaler):
    """A loss scaling that knows whether a loss was scaled, and whether the gradients were scaled back."""

    scaled = unscaled = False

    def scale(self, outputs: Any) -> Any:
        """Scale a loss."""
        self.scaled = self.is_enabled()
        return super().scale(outputs)

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Take a step of `optimizer` after scaling its gradients back."""
        self.unscaled = True
        return super().step(optimizer, *args, **kwargs)

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the gradients of `optimizer` back."""
        self.unscaled = True
        super().unscale_(optimizer)


def check(own: Bound, state: State, trainer: Trainer, batches: Iterable[Batch]) -> None:
    """Take the step with each of the batches. Raises ConfigError for one that fails, or that drops what was asked for.

    state: a copy of the run's, which is changed.
    """
    name, steps = own.target.__name__, [0]
    scaler = state.scaler = WatchedScaler("cpu", enabled=trainer.precision == "fp16")
    state.optimizer.register_step_post_hook(lambda *_: steps.__setitem__(0, steps[0] + 1))
    state.begin()
    try:
        step = choose(state, own)
        for batch in batches:
            taken(1, step(state, [(1 / trainer.accumulate, batch)] * trainer.accumulate), name)
        if hasattr(step, STATE[0]):
            step.load_state_dict(_reloaded(step.state_dict()))  # type: ignore[attr-defined]
    except ConfigError:
        raise
    except Exception as error:
        remedy = CLOSURE if "closure" in str(error) else ""
        raise ConfigError("trainer.step", f"{name} failed with {failure(error, own.target)}{remedy}") from error
    if scaler.scaled and not scaler.unscaled:
        raise ConfigError(
            "trainer.step",
            f"{name} takes its step with the scaled gradients of fp16; call descend(state) of runner.training.step"
            " instead of state.optimizer.step(), or use trainer.precision=bf16",
        )
    if (trainer.clip_norm or trainer.clip_value) and not steps[0]:
        raise ConfigError(
            "trainer.clip_norm" if trainer.clip_norm else "trainer.clip_value",
            f"cuts the gradients of the configured optimizer, with which {name} takes no step; leave it out, and cut"
            " them in the step",
        )
    holds = [key for key, value in getattr(step, "__dict__", {}).items() if isinstance(value, torch.optim.Optimizer)]
    if holds and not hasattr(step, STATE[0]):
        raise ConfigError(
            "trainer.step",
            f"{name}.{holds[0]} is an optimizer that no checkpoint has, so that a resumed run would be another one;"
            f" give {name} {' and '.join(STATE)}",
        )


def _reloaded(state: Any) -> Any:
    """Return the state of a step as a checkpoint gives it back."""
    content, _ = checkpoint.packed(state)
    try:
        return torch.load(io.BytesIO(content), weights_only=True)
    except pickle.UnpicklingError as error:
        why = "its state_dict must hold tensors and plain values alone, which a checkpoint gives back"
        raise ConfigError("trainer.step", why) from error
