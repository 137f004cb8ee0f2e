"""Differences of two configurations, leaf by leaf: what was never set differs from nothing."""

import dataclasses
import difflib
import json
from collections.abc import Iterator
from typing import Any

from runner.settings import Settings
from runner.settings.trust import secrets
from runner.tracking.read.difference import causes
from runner.tracking.read.difference.causes import Cause

#: Characters of a value in words.
MOST = 60
#: Beginnings of keys below which layers stand.
_LAYERS = ("model.layers", "model.inputs", "model.outputs")
#: Keys of a kind of their own.
_KINDS = {"seed": "seed", "model.start": "weights", "tracking": "record", "sweep": "record"}


@dataclasses.dataclass(frozen=True)
class Change:
    """A value that two configurations have differently. words: instead of both values."""

    key: str
    a: Any
    b: Any
    words: str = ""


def differences(a: Settings, b: Settings) -> list[Cause]:
    """Return a cause for each difference. A number that layers share explains the layers that differ by it alone."""
    plain = [secrets.without(dataclasses.asdict(one)) for one in (a, b)]
    scheduled = bool(a.scheduler or b.scheduler)
    changes = [*_changes(plain[0], plain[1], "")]
    knobs = {(text(c.a), text(c.b)): c.key for c in changes if c.key.startswith("model.knobs.")}
    return [_cause(change, knobs, scheduled) for change in changes]


def _cause(change: Change, knobs: dict[tuple[str, str], str], scheduled: bool) -> Cause:
    key, words = change.key, change.words or f"{text(change.a)} -> {text(change.b)}"
    effect, first = causes.effect(key, scheduled)
    start = next((start for start in _KINDS if key == start or key.startswith(f"{start}.")), "")
    knob = knobs.get((text(change.a), text(change.b))) if key.startswith(_LAYERS) else None
    follows = (knob,) if knob else ()
    return Cause(_KINDS.get(start, "configuration"), key, change.a, change.b, words, effect, first, follows)


def text(value: Any) -> str:
    """Return a value in a short line; `not set` for None."""
    if value is None:
        return "not set"
    line = value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
    return line if len(line) <= MOST else f"{line[: MOST - 3]}..."


def _changes(a: Any, b: Any, key: str) -> Iterator[Change]:
    if key.startswith(_LAYERS):
        a, b = (_layer(_listed(one) if key == "model.layers" and list in map(type, (a, b)) else one) for one in (a, b))
    if _same(a, b):
        if key.startswith(_LAYERS) and isinstance(a, dict) and list(a) != list(b):
            yield Change(key, a, b, f"in another order: {', '.join(a)} -> {', '.join(b)}")
    elif isinstance(a, dict) and isinstance(b, dict):
        yield from _of_mappings(a, b, key)
    elif isinstance(a, list) and isinstance(b, list) and not _are_plain(a + b):
        yield from _of_lists(a, b, key)
    else:
        yield Change(key, a, b)


def _of_mappings(a: dict[str, Any], b: dict[str, Any], key: str) -> Iterator[Change]:
    if a.get("name") != b.get("name") and key:
        yield Change(key, a or None, b or None, f"{_titled(a)} -> {_titled(b)}")
    elif key.startswith(_LAYERS) and len(a) == len(b) == 1 and a.keys() != b.keys():  # a layer of another class
        yield Change(key, _short(a), _short(b))
    else:
        for name in {**a, **b}:
            yield from _changes(a.get(name), b.get(name), f"{key}.{name}".removeprefix("."))


def _of_lists(a: list[Any], b: list[Any], key: str) -> Iterator[Change]:
    texts = [[json.dumps(item, sort_keys=True, default=str) for item in map(_layer, side)] for side in (a, b)]
    if sorted(texts[0]) == sorted(texts[1]):
        apart = [n for n, (one, other) in enumerate(zip(*texts, strict=True)) if one != other]
        moved = [", ".join(text(_short(_layer(side[n]))) for n in apart) for side in (a, b)]
        yield Change(key, a, b, f"in another order from [{apart[0]}] on: {moved[0]} -> {moved[1]}")
        return
    for kind, i, i_end, j, j_end in difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        both = min(i_end - i, j_end - j)
        for n in range(both):
            yield from _changes(a[i + n], b[j + n], f"{key}[{i + n}]")
        for n in range(i + both, i_end):
            yield Change(f"{key}[{n}]", _short(_layer(a[n])), None, f"{text(_short(_layer(a[n])))} is in A alone")
        for n in range(j + both, j_end):
            yield Change(f"{key}[{n}]", None, _short(_layer(b[n])), f"{text(_short(_layer(b[n])))} is in B alone")


def _listed(value: Any) -> Any:
    """Return layers by their places, where one side has names for them and the other has not."""
    return list(value.values()) if isinstance(value, dict) else value


def _layer(value: Any) -> Any:
    """Return one way to write a layer: `ReLU`, `ReLU:` and `ReLU: {}` are the same."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and len(value) == 1 and next(iter(value.values())) is None:
        return {name: {} for name in value}
    return value


def _short(value: Any) -> Any:
    """Return a layer as a person would write it: without arguments its name alone."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value.values())) == {}:
        return next(iter(value))
    return value


def _titled(component: dict[str, Any]) -> str:
    return str(component.get("name") or "none")


def _are_plain(values: list[Any]) -> bool:
    """Return whether a list is one value, as a shape is."""
    return not any(isinstance(value, dict | list | str) for value in values)


def _same(a: Any, b: Any) -> bool:
    """Return whether values are equal; a key without a value is one that is not there. 1 is 1.0, but not true."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_same(a.get(name), b.get(name)) for name in {**a, **b})
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b or (a != a and b != b))
