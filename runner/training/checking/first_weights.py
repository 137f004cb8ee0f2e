"""The first weights of a small model: drawn by the checks, as the run would draw them, and handed on to it."""

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from runner.data import Data
from runner.model import stack
from runner.settings import Settings
from runner.settings.random_state import seed
from runner.training.checking import cost
from runner.training.parts.components import Components
from runner.training.state import checkpoint, generators


@dataclass(frozen=True)
class Start:
    """A model with its first weights, and the random state after drawing these; None: not drawn."""

    model: nn.Module | None = None
    random_state: dict[str, Any] | None = None


def digest(start: Start, plan: stack.Stack) -> str:
    """Return the SHA-256 of the first weights; a function in a user's layer, as a hook, is of the copy's original."""
    return checkpoint.digest(start.model.state_dict()) if start.model is not None and has_users(plan) else ""


def draw(settings: Settings, parts: Components, data: Data, plan: stack.Stack, threads: int | None) -> Start:
    """Make the model with weights drawn from the run's seed. threads: of a recorded run."""
    seed(settings, threads or cost.threads(settings, plan, cost.batch_size(settings, data), parts.device))
    model = plan.make()
    return Start(model, generators.random_state(parts.device))


def copied(model: nn.Module, plan: stack.Stack) -> nn.Module:
    """Return a copy of `model`, or a new model where a layer cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:  # a layer of the user's own may have an attribute that cannot be copied
        return plan.make()


def has_users(plan: stack.Stack) -> bool:
    """Return whether a layer is of the user's own, whose code may depend on a batch's size."""
    layers = [inner for layer in plan.layers for inner in (layer, *layer.inner())]
    return any(str(one.target.__module__).partition(".")[0] not in ("torch", "runner") for one in layers)
