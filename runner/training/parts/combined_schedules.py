"""Schedules made of others: `SequentialLR` and `ChainedScheduler`, whose `schedulers` are written like layers."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

from runner.settings.errors import ConfigError, Problems

Plan = TypeVar("Plan")

#: torch's schedules that are made of others.
NAMES = ("SequentialLR", "ChainedScheduler")
#: The argument that holds them.
SCHEDULERS = "schedulers"


def resolve(value: Any, key: str, resolve_one: Callable[[dict[str, Any], str], Plan]) -> list[Plan]:
    """Return the plan of each of a list, `{LinearLR: {start_factor: 0.1}}` or the same with `name:`, or a mapping.

    resolve_one: returns the plan of one component. Raises ConfigError, or ConfigErrors, for what is written otherwise.
    """
    if isinstance(value, dict) and value:
        places = [(f"{key}.{name}", one) for name, one in value.items()]
    elif isinstance(value, list) and value:
        places = [(f"{key}[{number}]", one) for number, one in enumerate(value)]
    else:
        raise ConfigError(key, f"expected schedules, as in [{{LinearLR: {{total_iters: 5}}}}, ...], found {value!r}")
    problems, plans = Problems(), list[Plan]()
    for place, one in places:
        with problems.collect():
            plans.append(resolve_one(_component(one, place), place))
    problems.raise_all()
    return plans


def check(arguments: dict[str, Any], count: int, key: str) -> None:
    """Raise ConfigError where the milestones of SequentialLR do not rise, or are not `count - 1`."""
    milestones = arguments["milestones"]
    if not all(type(step) is int for step in milestones) or any(a >= b for a, b in pairwise([0, *milestones])):
        raise ConfigError(f"{key}.milestones", f"expected whole numbers that rise, as in [5, 20], found {milestones}")
    if len(milestones) != count - 1:
        raise ConfigError(
            f"{key}.milestones",
            f"has {len(milestones)} for {count} schedulers; expected {count - 1}, where the next one begins",
        )


def lengths(arguments: dict[str, Any], count: int, total: int) -> list[int]:
    """Return how long each of `count` schedules goes on; `total` is the length of the training."""
    if "milestones" not in arguments:
        return [total] * count
    ends = [0, *arguments["milestones"], max(total, arguments["milestones"][-1] + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def _component(spec: Any, key: str) -> dict[str, Any]:
    """Return a component of what is written as a layer is: `CosineAnnealingLR`, `{StepLR: {step_size: 3}}`."""
    if isinstance(spec, str):
        return {"name": spec}
    if isinstance(spec, dict) and len(spec) == 1 and not spec.keys() & {"name", "_target_"}:
        [(name, arguments)] = spec.items()
        if arguments is None or isinstance(arguments, dict):
            return {"name": name, **(arguments or {})}
    if not isinstance(spec, dict):
        raise ConfigError(key, f"expected a schedule, as in {{LinearLR: {{total_iters: 5}}}}, found {spec!r}")
    return spec
