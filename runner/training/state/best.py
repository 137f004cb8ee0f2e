"""The weights with the best value of the monitored metric, and for how long nothing has been better."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from runner.training.state import checkpoint

#: The fields that a checkpoint holds.
STATE = ("value", "step", "stale", "weights")


@dataclass
class Best:
    mode: str = "min"  # which values are better: min | max
    min_delta: float = 0.0  # by how much a value must be better
    weights: dict[str, Tensor] | None = None
    value: float = math.nan
    newest: float = math.nan  # the last value compared, the best or not
    step: int = 0
    stale: int = 0  # values since the best one

    def compare(self, value: float, step: int, model: nn.Module) -> None:
        """Keep the weights of `model` if `value` is better than all before; a number is better than none."""
        value = value if math.isfinite(value) else math.nan  # infinity would be the best for ever where more is better
        self.newest = value
        gain = self.value - value if self.mode == "min" else value - self.value
        if self.weights is None or gain > self.min_delta or math.isnan(self.value) > math.isnan(value):
            self.take(model, step)
            self.value, self.stale = value, 0
        else:
            self.stale += 1

    def take(self, model: nn.Module, step: int) -> None:
        """Copy the weights of `model`, as those of `step`."""
        self.weights, self.step = checkpoint.copy(model), step

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes: tensors and plain values."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name in STATE:
            setattr(self, name, state[name])
