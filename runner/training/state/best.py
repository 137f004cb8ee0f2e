"""The weights with the best value of the monitored metric, and the number of values since that was found."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import host
from runner.training.state import checkpoint

#: The fields that a checkpoint contains.
STATE = ("value", "step", "stale", "weights")

Weights = dict[str, Tensor]


@dataclass
class Best:
    """The best weights of a run so far, copies on the CPU, with their step and value."""

    mode: str = "min"  # which values are better: min | max
    min_delta: float = 0.0  # by how much a value must be better
    copied: Weights | Callable[[], Weights] | None = None  # or a function that returns them, where others keep them
    #: Copies the weights of a model, at once or by the time that they are read.
    copy: Callable[[nn.Module], Weights | Callable[[], Weights]] = checkpoint.copy
    value: float = math.nan
    newest: float = math.nan  # the last value compared, the best or not
    step: int = 0
    stale: int = 0  # number of values since the best one

    @property
    def weights(self) -> Weights | None:
        """The best weights by name, on the CPU; None before there are any.

        Each reading may copy them, from a device or out of a stack: ask `copied is None` whether there are any.
        """
        return self.copied() if callable(self.copied) else self.copied

    def compare(self, value: float, step: int, model: nn.Module) -> None:
        """Copy the weights of `model` if `value` is better than all before. A finite number is better than others."""
        value = value if math.isfinite(value) else math.nan  # infinity would be the best for ever where more is better
        self.newest = value
        gain = self.value - value if self.mode == "min" else value - self.value
        if self.copied is None or gain > self.min_delta or math.isnan(self.value) > math.isnan(value):
            self.take(model, step)
            self.value, self.stale = value, 0
        else:
            self.stale += 1

    def take(self, model: nn.Module, step: int) -> None:
        """Copy the weights of `model`, as those of `step`."""
        self.copied, self.step = self.copy(model), step

    def is_in(self, model: nn.Module, step: int) -> bool:
        """Return whether `model`, after `step` steps, has the best weights, as at the end of most short trainings."""
        if self.copied is None or self.step != step:
            return False
        best, own = self.weights, model.state_dict()
        assert best is not None, "they are there"
        return best.keys() == own.keys() and all(
            torch.equal(best[name], host.tensor(tensor)) for name, tensor in own.items()
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.copied = state["weights"]
        self.value, self.step, self.stale = state["value"], state["step"], state["stale"]
