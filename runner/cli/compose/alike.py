"""Jobs that are alike but for numbers: their settings are a copy of those of the first, with other numbers.

Hydra parses the words of each job anew and OmegaConf follows every reference, some 15 ms for a job. What comes out for
a number at a key that nothing refers to is that number, and all else is what it was. Where it is not that plain,
nothing is given, and the job is composed as Hydra composes it.
"""

import dataclasses
import pickle
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from runner.settings import Settings
from runner.settings.trust import secrets

#: A word that sets a number, in the forms in which Hydra and Python read the same.
_WORD = re.compile(
    r"(?P<key>[a-zA-Z_]\w*(?:\.[a-zA-Z_]\w*)*)="
    r"(?:(?P<int>-?(?:0|[1-9][0-9]{0,17}))|(?P<float>-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,20})?(?:e-?[0-9]{1,2})?))"
)
#: All that a reference may be for the others to be known: a key from the root, or a variable of the environment.
_REFERENCE = re.compile(r"\$\{\s*(?P<key>[a-zA-Z_]\w*(?:(?:\.\w+)|\[\w+\])*)\s*\}|\$\{oc\.env:[^${}]*\}")

Number = int | float


@dataclasses.dataclass(frozen=True)
class _First:
    """The first of jobs that are alike."""

    settings: bytes  # pickled: a copy takes an eighth of the time of copy.deepcopy
    plain: dict[str, Any]


class Alike:
    """The jobs of a sweep that were composed, for those that are alike."""

    def __init__(self) -> None:
        # Words without numbers -> keys whose numbers are free; None: not all that such jobs hold is in their words.
        self._free: dict[tuple[str, ...], frozenset[str] | None] = {}
        self._first: dict[tuple[str, ...], _First] = {}  # words without free numbers -> the first job with them

    def made(self, job: list[str]) -> tuple[Settings, dict[str, Any]] | None:
        """Return the settings and the resolved configuration of a job; None if it is not known to be like another.

        Parts of the configuration are those of other jobs, and may not be changed.
        """
        words = [_WORD.fullmatch(word) for word in job]
        free = self._free.get(_without(job, words))
        first = self._first.get(_without(job, words, free)) if free is not None else None
        if free is None or first is None:
            return None
        settings: Settings = pickle.loads(first.settings)
        plain = first.plain
        for match in words:
            if match is not None and match["key"] in free:
                path, number = match["key"].split("."), _number(match)
                plain = _with(plain, path, number)
                _set(settings, path, number)
        return settings, plain

    def learn(self, job: list[str], config: DictConfig, settings: Settings, plain: dict[str, Any]) -> None:
        """Remember a job that was composed. plain: the resolved configuration."""
        words = [_WORD.fullmatch(word) for word in job]
        shape = _without(job, words)
        if shape not in self._free:
            references = _references(OmegaConf.to_container(config, resolve=False))
            keys = [] if references is None else _free(job, words, references, settings, plain)
            self._free[shape] = None if references is None else frozenset(keys)
        if (free := self._free[shape]) is not None:
            self._first[_without(job, words, free)] = _First(pickle.dumps(settings), plain)


def _without(job: list[str], words: list[re.Match[str] | None], free: frozenset[str] | None = None) -> tuple[str, ...]:
    """Return the words without the numbers of these keys, or of all; with what kind of number each is."""
    return tuple(
        word if match is None or (free is not None and match["key"] not in free) else f"{match['key']} {_kind(match)}"
        for word, match in zip(job, words, strict=True)
    )


def _kind(match: re.Match[str]) -> str:
    return "int" if match["int"] is not None else "float"


def _number(match: re.Match[str]) -> Number:
    return int(match["int"]) if match["int"] is not None else float(match["float"])


def _free(
    job: list[str],
    words: list[re.Match[str] | None],
    references: set[str],
    settings: Settings,
    plain: dict[str, Any],
) -> Iterator[str]:
    """Yield the keys whose numbers decide nothing but themselves. references: the keys to which texts refer."""
    keys = [word.partition("=")[0].lstrip("+~").partition("@")[0] for word in job]
    for match in words:
        if match is None:
            continue
        key, path = match["key"], match["key"].split(".")
        others = [other for other in keys if _touches(other.replace("/", "."), key)]
        presets = [word for word in job if re.fullmatch(rf"{path[0]}=\w+", word)]  # which come before all values
        is_secret = any(map(secrets.is_secret, path))
        judged = settings.sweep.pruner is not None and path[0] in ("trainer", "sweep")  # by both together
        if len(others) > 1 + len(presets) or is_secret or judged or any(_touches(one, key) for one in references):
            continue
        number = _number(match)
        if _takes(path, number) and _is(_at(plain, path), number) and _is(_at(settings, path), number):
            yield key


def _references(value: Any) -> set[str] | None:
    """Return the keys to which texts in a plain value refer; None where a reference may lead anywhere."""
    if isinstance(value, dict | list):
        found: set[str] = set()
        for inner in value.values() if isinstance(value, dict) else value:
            below = _references(inner)
            if below is None:
                return None
            found |= below
        return found
    if not isinstance(value, str) or "${" not in value:
        return set()
    matches = list(_REFERENCE.finditer(value))
    if len(matches) != value.count("${"):
        return None
    return {re.sub(r"\[(\w+)\]", r".\1", match["key"]) for match in matches if match["key"]}


def _touches(one: str, other: str) -> bool:
    """Return whether one key is the other, or above or below it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _takes(path: list[str], number: Number) -> bool:
    """Return whether the key takes every number of this kind as it is, so that only its range may be wrong."""
    hint: Any = Settings
    for name in path:
        if not dataclasses.is_dataclass(hint):
            return True  # an argument of a component, which takes anything
        hint = get_type_hints(hint).get(name)
    return type(number) in (get_args(hint) or (hint,))


def _with(plain: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Return a configuration with a value set; what lies beside the path is shared."""
    first, *rest = path
    return {**plain, first: _with(plain[first], rest, value) if rest else value}


def _set(settings: Any, path: list[str], value: Any) -> None:
    *above, last = path
    holder = _at(settings, above)
    if isinstance(holder, dict):
        holder[last] = value
    else:
        setattr(holder, last, value)


def _at(value: Any, path: list[str]) -> Any:
    """Return what stands at a path of names; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def _is(value: Any, number: Number) -> bool:
    return type(value) is type(number) and bool(value == number)
