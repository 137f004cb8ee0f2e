"""The schedule of checkpoints: every so many epochs, steps or minutes."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from runner.settings.errors import ConfigError


@dataclass
class Due:
    """The interval between checkpoints. number: 0 for checkpoints at the end only."""

    number: float = 0.0
    unit: str = "epochs"  # epochs | steps | minutes
    _saved: float = field(default_factory=time.monotonic)

    def is_now(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether a checkpoint is due after this step; minutes are counted from the last time that one was."""
        if not self.number:
            return False
        if self.unit != "minutes":
            return step % (self.number if self.unit == "steps" else self.number * steps_per_epoch) == 0
        now = time.monotonic()
        if now - self._saved < 60 * self.number:
            return False
        self._saved = now
        return True


def read(value: Any) -> Due:
    """Read `checkpoint.every`: null, 1, "2 epochs", "100 steps" or "10 minutes". Raises ConfigError."""
    if value is None:
        return Due()
    number, _, unit = str(value).strip().partition(" ")
    unit = {"": "epochs", "epoch": "epochs", "step": "steps", "minute": "minutes"}.get(unit.strip(), unit.strip())
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    whole = unit == "minutes" or amount.is_integer()
    if unit not in ("epochs", "steps", "minutes") or not 0 < amount < math.inf or not whole:
        raise ConfigError(
            "checkpoint.every", f"{value!r} is not understood; expected 1, '2 epochs', '100 steps' or '10 minutes'"
        )
    return Due(amount, unit)
