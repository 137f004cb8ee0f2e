"""The search space: for each key an interval or a choice."""

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from runner.settings.errors import ConfigError

#: Most values of one key in a grid.
MOST = 10_000


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both of them included."""

    low: float
    high: float
    step: float | None = None  # None: any number, or any whole number
    log: bool = False  # drawn uniformly in the logarithm
    whole: bool = False

    def problem(self) -> str:
        """Return what is wrong with the interval, "" if nothing is."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            return (
                f"the interval from {self.low:g} to {self.high:g} is empty; expected two numbers, the lower one first"
            )
        if self.log and self.low <= 0:
            return f"an interval with tag log must begin above 0, and this one begins at {self.low:g}"
        if self.log and self.step not in (None, 1):
            return "an interval takes a step or tag log, not both; remove one"
        if self.step is not None and self.step <= 0:
            return f"the step is {self.step:g}; expected a number above 0"
        return ""

    def suggested(self, trial: Any, key: str) -> Any:
        """Return the value of `key` in an Optuna trial; a value drawn before does not change."""
        low, high = self.ends()
        if self.whole:
            return trial.suggest_int(key, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, low, high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        """Return the lowest and the highest value."""
        last = self._last()
        return [int(self.low), int(last)] if self.whole else [float(self.low), float(last)]

    def values(self) -> list[Any] | None:
        """Return all values, at most MOST + 1 of them; None for a continuous interval."""
        step = self.step or (1 if self.whole else None)
        if step is None:
            return None
        count = min(round((self._last() - self.low) / step) + 1, MOST + 1)
        values = [self.low + i * step for i in range(count)]
        return list(map(int, values)) if self.whole else values

    def _last(self) -> float:
        step = self.step or (1 if self.whole else None)
        # 1e-9: (0.3 - 0) / 0.1 is a little less than 3.
        return self.high if step is None else self.low + math.floor((self.high - self.low) / step + 1e-9) * step


@dataclass(frozen=True)
class Choice:
    """A list of options: numbers, booleans, None, and all else as text, as typed on a command line."""

    options: tuple[Any, ...]

    def problem(self) -> str:
        """Return what is wrong with the choice, "" if nothing is."""
        return "" if self.options else "the choice is empty; give at least one option"

    def suggested(self, trial: Any, key: str) -> Any:
        """Return the value of `key` in an Optuna trial; a value drawn before does not change."""
        return trial.suggest_categorical(key, self.options)

    def ends(self) -> list[Any]:
        """Return all options."""
        return list(self.options)

    def values(self) -> list[Any] | None:
        """Return all options."""
        return list(self.options)


Space = dict[str, Interval | Choice]


def check(space: Space) -> None:
    """Raise ConfigError for an empty space, or for a key whose interval or choice is wrong."""
    if not space:
        raise ConfigError(
            "hydra.sweeper.params",
            "the search space is empty; give at least one key, such as 'optimizer.lr=tag(log, interval(1e-4, 1e-1))'",
        )
    for key, part in space.items():
        if problem := part.problem():
            raise ConfigError(key, problem)


def corners(space: Space) -> list[dict[str, Any]]:
    """Return few points that contain each end of each interval and each option; they are checked before a search."""
    ends = {key: part.ends() for key, part in space.items()}
    return [
        {key: values[number % len(values)] for key, values in ends.items()}
        for number in range(max(map(len, ends.values())))
    ]


def grid(space: Space) -> dict[str, list[Any]]:
    """Return all values of each key. Raises ConfigError for a continuous interval, and for more than MOST values."""
    points: dict[str, list[Any]] = {}
    for key, part in space.items():
        values = part.values()
        if values is None or len(values) > MOST:
            raise ConfigError(
                key, f"a grid needs a finite list of values, at most {MOST:,}; give choice(...) or range(...)"
            )
        points[key] = values
    return points


def product(space: Space, keys: list[str]) -> list[dict[str, Any]]:
    """Return all combinations of the ends and options of `keys`."""
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(space[key].ends() for key in keys))]


def typed(value: Any) -> str:
    """Return the value as typed on a command line; a number in the shortest form that gives the same number again."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, str) else repr(value)


def plain(space: Space) -> dict[str, dict[str, Any]]:
    """Return the space as a mapping that JSON can hold."""
    return {key: asdict(part) for key, part in space.items()}


def read(values: dict[str, dict[str, Any]]) -> Space:
    """Return the space that `plain` was called with."""
    return {
        key: Choice(tuple(part["options"])) if "options" in part else Interval(**part) for key, part in values.items()
    }
