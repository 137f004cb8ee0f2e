"""MixUp and CutMix as entries of `data.augment`, as torchvision has them: they mix a batch after all transforms."""

from dataclasses import dataclass
from typing import Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup

#: Name of torchvision's transform, in small letters -> as it is written.
NAMES = {"mixup": "MixUp", "cutmix": "CutMix"}
#: Its arguments; what else it has is for batches of another form.
ARGUMENTS = ("alpha", "num_classes")


@dataclass(frozen=True)
class Mixes:
    """Strengths of the mixing that the last entry of `data.augment` asks for.

    alphas: by the key of `data` that means the same, {"mixup": 0.2}; empty where nothing is mixed.
    key: of the entry. classes: the numbers of classes that are written there.
    """

    alphas: dict[str, float]
    key: str = ""
    classes: tuple[int, ...] = ()


def take(entries: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], Mixes]:
    """Return the transforms of examples, and what mixes batches after them. Raises ConfigError.

    entries: (key, entry) each.
    """
    found = [i for i, (_, entry) in enumerate(entries) if _names(entry)]
    if not found:
        return entries, Mixes({})
    key, last = entries[found[-1]]
    if len(found) > 1:
        raise ConfigError(
            key,
            f"{_names(last)[0]} mixes batches that are mixed already; {{RandomChoice: [MixUp, CutMix]}} takes one"
            " of both for each batch",
        )
    if found[0] != len(entries) - 1:
        raise ConfigError(key, f"{_names(last)[0]} mixes a batch when all of its examples are transformed; expected as"
            " the last entry")  # fmt: skip
    choice = _choice(last)
    parts = [_arguments(one, f"{key}.transforms[{i}]") for i, one in enumerate(choice)] or [_arguments(last, key)]
    classes = tuple(given["num_classes"] for _, given in parts if given.get("num_classes") is not None)
    return entries[:-1], Mixes({name: given.get("alpha", 1.0) for name, given in parts}, key, classes)


def check_classes(mixes: Mixes, classes: int) -> None:
    """Raise ConfigError for a number of classes that the data do not have."""
    for number in mixes.classes:
        if number != classes:
            raise ConfigError(f"{mixes.key}.num_classes", f"{number!r}, and the data have {classes} classes; leave it"
                " out, they are counted")  # fmt: skip


def _names(entry: Any) -> list[str]:
    """Return the names of what an entry mixes by: one, or both of a RandomChoice."""
    bare = _bare(entry)
    return [NAMES[bare.lower()]] if bare.lower() in NAMES else [NAMES[_bare(one).lower()] for one in _choice(entry)]


def _choice(entry: Any) -> list[Any]:
    """Return MixUp and CutMix of an entry that takes one of them, each as often; [] for another entry."""
    if _bare(entry) != "RandomChoice" or not isinstance(entry, dict):
        return []
    value = entry if "name" in entry else next(iter(entry.values()))
    inner = value.get("transforms") if isinstance(value, dict) and not value.get("p") else value
    if not isinstance(inner, list) or sorted(_bare(one).lower() for one in inner) != ["cutmix", "mixup"]:
        return []
    return inner


def _bare(entry: Any) -> str:
    name = entry
    if isinstance(entry, dict) and entry:
        name = entry.get("name") or (next(iter(entry)) if len(entry) == 1 else "")
    return name.rpartition(".")[2] if isinstance(name, str) else ""


def _arguments(entry: Any, key: str) -> tuple[str, dict[str, Any]]:
    """Return the key of `data`, and the arguments, of MixUp or CutMix. Raises ConfigError."""
    value: Any = {}
    if isinstance(entry, dict):
        value = lookup.component(entry, key)[1] if "name" in entry else next(iter(entry.values()))
    given = {} if value is None else dict(value) if isinstance(value, dict) else {"alpha": value}
    for name in given:
        if name not in ARGUMENTS:
            raise ConfigError(f"{key}.{name}", f"{NAMES[_bare(entry).lower()]} has no argument {name!r} here"
                f"{did_you_mean(str(name), ARGUMENTS)} (it takes {', '.join(ARGUMENTS)})")  # fmt: skip
    return _bare(entry).lower(), given
