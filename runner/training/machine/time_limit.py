"""A limit of time, as clusters set it: the run stops and saves before."""

import re
import time

from runner.settings.errors import ConfigError
from runner.training.machine.signals import Interrupted

#: When this process began to work, near enough.
_begun = time.monotonic()
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def begin() -> None:
    """Count from now."""
    global _begun
    _begun = time.monotonic()


class OutOfTime(Interrupted):
    """The time limit is near."""

    def __init__(self, limit: str) -> None:
        BaseException.__init__(self, f"trainer.time_limit of {limit} is reached")
        self.exit_code = 1


class TimeLimit:
    """Asked between two steps. A twentieth of the limit, at most a minute, is kept for saving and closing."""

    def __init__(self, limit: str | None) -> None:
        self.limit = limit or ""
        seconds = float("inf") if limit is None else read(limit)
        self.end = _begun + seconds - min(seconds / 20, 60.0)

    def stop(self) -> OutOfTime | None:
        """What to end with, if the time is out."""
        return OutOfTime(self.limit) if time.monotonic() > self.end else None


def read(limit: str) -> float:
    """Seconds in "90 seconds", "30 minutes", "12 hours" or "2 days". Raises ConfigError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(second|minute|hour|day)s?\s*", str(limit))
    if found is None or not float(found[1]):
        raise ConfigError("trainer.time_limit", f"{limit!r} is not understood; expected '30 minutes' or '12 hours'")
    return float(found[1]) * UNITS[found[2]]
