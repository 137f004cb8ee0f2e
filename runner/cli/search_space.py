"""A search space, made of Hydra's grammar: `interval`, `range`, `choice` and lists of values."""

import itertools
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from runner.settings.errors import ConfigError, did_you_mean
from runner.sweeps.search.space import MOST, Choice, Interval, Space

#: The kinds of the form that the published plugin had before Hydra 1.2, and their arguments.
KINDS = {"float": ("low", "high", "step", "log"), "int": ("low", "high", "step", "log"), "categorical": ("choices",)}


def read(overrides: Iterable[Override]) -> tuple[Space, list[str]]:
    """Return the space, and the words that hold for every trial. Of a key that comes twice, the last counts."""
    space: Space = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        space.pop(key, None)
        fixed.pop(key, None)
        if override.is_delete():
            fixed[key] = str(override.input_line)
        elif override.is_sweep_override():
            space[key] = part(override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    return space, list(fixed.values())


def part(override: Override) -> Interval | Choice:
    """Return the part of the space that an override stands for, as in the published Optuna sweeper.

    `interval` holds any number, `int(interval(...))` whole ones, `tag(log, ...)` makes it logarithmic;
    `range(start, stop, step)` includes its stop here; everything else is a choice.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        # interval(1, 5) holds floats, int(interval(1, 5)) whole numbers: only the words tell them apart.
        whole = "int(" in (override.input_line or "").replace(" ", "")
        return Interval(value.start, value.end, log="log" in value.tags, whole=whole)
    if isinstance(value, RangeSweep) and not value.shuffle:
        assert value.start is not None
        assert value.stop is not None
        whole = all(isinstance(number, int) for number in (value.start, value.stop, value.step))
        return Interval(value.start, value.stop, value.step, log="log" in value.tags, whole=whole)
    texts = itertools.islice(override.sweep_string_iterator(), MOST)
    return Choice(tuple(map(option, texts)))


def option(text: str) -> Any:
    """Return a number, a truth value or None for the text of one, and any other text as it was typed."""
    if text in ("True", "False", "null"):
        return {"True": True, "False": False, "null": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def older(key: str, spec: Any) -> Interval | Choice:
    """Return the part for `{type: float, low: 1e-4, high: 0.1, log: true}`, as `hydra.sweeper.search_space` has it."""
    place = f"hydra.sweeper.search_space.{key}"
    kind = spec.get("type") if isinstance(spec, dict) else None
    if kind not in KINDS:
        raise ConfigError(
            place, f"{spec!r} is not a part of a space; expected a type of {', '.join(KINDS)} and its arguments"
        )
    for name in spec:
        if name not in ("type", *KINDS[kind]):
            names = KINDS[kind]
            raise ConfigError(
                f"{place}.{name}", f"{kind} takes no such argument{did_you_mean(name, names)} ({', '.join(names)})"
            )
    if missing := [name for name in KINDS[kind] if name in ("low", "high", "choices") and name not in spec]:
        raise ConfigError(place, f"{kind} needs {' and '.join(missing)}")
    if kind == "categorical":
        return Choice(tuple(spec["choices"]))
    return Interval(spec["low"], spec["high"], spec.get("step"), bool(spec.get("log")), kind == "int")
