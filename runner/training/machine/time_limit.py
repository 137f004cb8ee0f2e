"""A time limit, as clusters set it: the run stops and saves before it."""

import re
import time

from runner.settings.errors import ConfigError
from runner.training.machine.signals import Interrupted

#: When this process began to work, near enough.
_begun = time.monotonic()
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def begin() -> None:
    """Start the clock of the limit."""
    global _begun
    _begun = time.monotonic()


class OutOfTime(Interrupted):
    """The time limit is near."""

    def __init__(self, limit: str) -> None:
        BaseException.__init__(self, f"trainer.time_limit of {limit} is reached")
        self.exit_code = 1


class TimeLimit:
    """The end of `trainer.time_limit`, less a twentieth of it, at most a minute, for saving and closing."""

    def __init__(self, limit: str | None) -> None:
        self.limit = limit or ""
        seconds = float("inf") if limit is None else read(limit)
        self.end = _begun + seconds - min(seconds / 20, 60.0)

    def stop(self) -> OutOfTime | None:
        """Return the error to end with if the time is over; None if not."""
        return OutOfTime(self.limit) if time.monotonic() > self.end else None


def read(limit: str) -> float:
    """Read seconds from "90 seconds", "30 minutes", "12 hours" or "2 days". Raises ConfigError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(second|minute|hour|day)s?\s*", str(limit))
    if match is None or not float(match[1]):
        raise ConfigError("trainer.time_limit", f"{limit!r} is not understood; expected '30 minutes' or '12 hours'")
    return float(match[1]) * UNITS[match[2]]
