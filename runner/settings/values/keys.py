"""The keys that an unknown one may stand for."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from runner.settings import Settings

#: Groups whose presets are `{name: X, **arguments}`.
COMPONENTS = ("data", "loss", "optimizer", "scheduler")
#: Mappings of one kind or the other, by the key that stands in it; one of another kind takes the former's place.
KINDS = {"trainer.average": ("decay", "from"), "model.start": ("run", "file")}
#: Keys of `trainer` that both are the length of a training: the one that is nearer to the person holds.
LENGTHS = ("steps", "epochs")
#: Mappings outside of `model` and of components that take any name, which they check themselves.
OPEN = ("metrics", "trainer.average", "trainer.step", "sweep.pruner")
#: Other programs' words -> our keys.
OTHERS = {
    "bs": "batch_size",
    "dataset": "data",
    "early_stopping": "patience",
    "exp": "experiments",
    "experiment": "experiments",
    "learning_rate": "lr",
    "opt": "optimizer",
    "study": "experiments",
    "wd": "weight_decay",
}
#: Words that are less alike than this are different ones.
ALIKE = 0.65
#: Parts of the configuration in the order in which a word is looked for.
_ORDER = ("trainer", "optimizer", "model", "data", "loss", "scheduler")


def declared(kind: Any = Settings, parent: str = "") -> Iterator[str]:
    """Yield every key of the settings by its dotted name; arguments of components and layers are not declared."""
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            yield from declared(field.type, f"{parent}{field.name}.")
        elif field.name not in COMPONENTS:
            yield f"{parent}{field.name}"


def alike(key: str, candidates: Iterable[str], least: float = ALIKE) -> list[str]:
    """Return the known keys whose last name is like that of `key`, the likeliest first.

    least: how much alike the ends have to be, from 0 to 1; with 1 they are the same.
    """
    parent, _, last = key.rpartition(".")
    ends: dict[str, list[str]] = {}
    for candidate in dict.fromkeys(candidates):
        ends.setdefault(end(candidate).lower(), []).append(candidate)
    word = last.lower().replace("-", "_")
    word = OTHERS.get(word, word) if OTHERS.get(word) in ends else word
    if word not in ends:
        beside = [name for name, keys in ends.items() if any(k.rpartition(".")[0] == parent for k in keys)]
        nearest = max(ends, key=lambda name: (_ratio(word, name), name in beside), default="")
        if _ratio(word, nearest) < least:
            return []
        word = nearest
    return sorted(ends[word], key=lambda candidate: (candidate.rpartition(".")[0] != parent, _rank(candidate)))


def hint(key: str, known: Iterable[str], value: str = "") -> str:
    """Return `; did you mean trainer.epochs=3?`, `'epochs'` if only the last name differs, "" if no key is near."""
    return suggestion(key, alike(key, known), value)


def suggestion(key: str, candidates: list[str], value: str) -> str:
    """Return the hint for keys that `alike` has returned."""
    parent = key.rpartition(".")[0]
    if not candidates:
        return ""
    if candidates[0].rpartition(".")[0] == parent and "/" not in candidates[0] and (parent or not value):
        return f"; did you mean {end(candidates[0])!r}?"
    return f"; did you mean {' or '.join(f'{k}={value}' if value else k for k in candidates[:3])}?"


def end(key: str) -> str:
    """Return `lr` of `optimizer.lr`, `launcher` of `hydra/launcher`."""
    return key.replace("/", ".").rpartition(".")[2]


def _rank(key: str) -> int:
    first = key.partition(".")[0]
    return _ORDER.index(first) if first in _ORDER else len(_ORDER)


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
