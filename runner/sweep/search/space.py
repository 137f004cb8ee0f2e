"""What a search may try: for each key an interval or a choice."""

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from runner.settings.errors import ConfigError

#: Values of one key in a grid.
MOST = 10_000


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both of them included."""

    low: float
    high: float
    step: float | None = None  # None: every number, or every whole number
    log: bool = False  # as many between 0.1 and 1 as between 1 and 10
    whole: bool = False

    def problem(self) -> str:
        """What is wrong with it, or nothing."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            return f"from {self.low:g} to {self.high:g} there is nothing; expected two numbers, the lower one first"
        if self.log and self.low <= 0:
            return f"an interval with tag log begins above 0, and this one at {self.low:g}"
        if self.log and self.step not in (None, 1):
            return "steps and tag log exclude each other; leave one out"
        if self.step is not None and self.step <= 0:
            return f"the step {self.step:g} leads nowhere; expected one above 0"
        return ""

    def suggested(self, trial: Any, key: str) -> Any:
        """The value of an Optuna trial; one that has been drawn stays."""
        low, high = self.ends()
        if self.whole:
            return trial.suggest_int(key, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, low, high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        last = self._last()
        return [int(self.low), int(last)] if self.whole else [float(self.low), float(last)]

    def values(self) -> list[Any] | None:
        """All of them; None where they cannot be counted."""
        step = self.step or (1 if self.whole else None)
        if step is None:
            return None
        count = min(round((self._last() - self.low) / step) + 1, MOST + 1)
        found = [self.low + i * step for i in range(count)]
        return list(map(int, found)) if self.whole else found

    def _last(self) -> float:
        step = self.step or (1 if self.whole else None)
        # 1e-9: (0.3 - 0) / 0.1 is a little less than 3.
        return self.high if step is None else self.low + math.floor((self.high - self.low) / step + 1e-9) * step


@dataclass(frozen=True)
class Choice:
    """Numbers, truths, None, and everything else as one would type it."""

    options: tuple[Any, ...]

    def problem(self) -> str:
        return "" if self.options else "there is nothing to choose from"

    def suggested(self, trial: Any, key: str) -> Any:
        return trial.suggest_categorical(key, self.options)

    def ends(self) -> list[Any]:
        return list(self.options)

    def values(self) -> list[Any] | None:
        return list(self.options)


Space = dict[str, Interval | Choice]


def check(space: Space) -> None:
    if not space:
        raise ConfigError(
            "hydra.sweeper.params",
            "there is nothing to search; give at least one, such as 'optimizer.lr=tag(log, interval(1e-4, 1e-1))'",
        )
    for key, part in space.items():
        if problem := part.problem():
            raise ConfigError(key, problem)


def corners(space: Space) -> list[dict[str, Any]]:
    """Few points in which every end of every interval and every choice occurs: what must be right before a search."""
    ends = {key: part.ends() for key, part in space.items()}
    return [
        {key: values[number % len(values)] for key, values in ends.items()}
        for number in range(max(map(len, ends.values())))
    ]


def grid(space: Space) -> dict[str, list[Any]]:
    """All values of each key. Raises ConfigError where they cannot be counted."""
    found: dict[str, list[Any]] = {}
    for key, part in space.items():
        values = part.values()
        if values is None or len(values) > MOST:
            raise ConfigError(key, "a grid needs values that can be counted; give choice(...) or range(...)")
        found[key] = values
    return found


def product(space: Space, keys: list[str]) -> list[dict[str, Any]]:
    """Every combination of the values of `keys`."""
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(space[key].ends() for key in keys))]


def typed(value: Any) -> str:
    """The value as one would type it; a number in the shortest form that gives the same number again."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, str) else repr(value)


def plain(space: Space) -> dict[str, dict[str, Any]]:
    """For a file."""
    return {key: asdict(part) for key, part in space.items()}


def read(values: dict[str, dict[str, Any]]) -> Space:
    """What `plain` gave, after it has been in a file."""
    return {
        key: Choice(tuple(part["options"])) if "options" in part else Interval(**part) for key, part in values.items()
    }
