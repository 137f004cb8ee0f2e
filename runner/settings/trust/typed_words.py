"""The values that a person has typed, one by one: the words of a command line as Hydra reads them."""

import re
import shlex
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runner.settings.values import short
from runner.settings.values.keys import COMPONENTS

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

#: A key, part by part: a key within a mapping may hold dots.
Path = tuple[Any, ...]

#: References of a text, and those of them that nobody sets: the time, and the number of a job.
_REFERENCE = re.compile(r"(\$\{[^${}]*\})")
_NOBODY = re.compile(r"\$\{(hydra[.:]job\.(num|id)|now:(?P<form>[^${}]*))\}")
#: A key to read a value by itself.
KEY = "key"
#: References to references that are followed.
DEEPEST = 5


class Typed:
    """The keys that a person has typed, each with its values: one for each word, and for each job of a sweep.

    Hydra merges a mapping into a file's, so it stands for its own keys alone; a list replaces another. The choice of a
    preset is a value of its group, and of nothing in the preset. A word that Hydra cannot read stands for nothing.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self.values: dict[Path, list[Any]] = {}
        for override in filter(None, map(read, words)):
            path = tuple(override.key_or_group.split("."))
            if override.is_delete():
                self._forget(path)
                continue
            jobs = [leaves(_component(value, path), path) for value in _alternatives(override)]
            for key in jobs[0] if jobs else ():
                if all(key in job for job in jobs):  # in the other jobs a file sets it
                    self.values.setdefault(key, []).extend(job[key] for job in jobs)

    @staticmethod
    @lru_cache(maxsize=8)
    def of(words: tuple[str, ...]) -> "Typed":
        """Return these words, read once."""
        return Typed(words)

    def is_wholly(self, path: Path, value: Any) -> bool:
        """Return whether all of `value`, as it was typed or as it is filled in, was typed."""
        return any(self._is_said(text, value) for text in self.values.get(path, []))

    def references(self, path: Path) -> list[str]:
        """Return the references to keys that others may set, as in `out/${tracking.run_name}`."""
        texts = map(str, self.values.get(path, []))
        return list(dict.fromkeys(part for text in texts for part in _left(text) if self._pattern(part) is None))

    def beginnings(self, path: Path) -> list[str]:
        """Return the folders, or servers, that were typed before a reference."""
        texts = [str(text).partition("${") for text in self.values.get(path, [])]
        return [before[: before.rfind("/") + 1] for before, reference, _ in texts if reference]

    def _is_said(self, text: Any, value: Any) -> bool:
        if isinstance(text, list):
            return bool(text == value and "${" not in str(text))
        pattern = self._pattern(text)
        if pattern is None:
            return False
        unfilled = str(text) == str(value) and not _left(str(text))
        return unfilled or re.fullmatch(pattern, str(value), re.DOTALL) is not None

    def _pattern(self, text: Any, depth: int = 0) -> str | None:
        """Return a regular expression of what a typed text may become; None if a file sets a part of it."""
        pattern = ""
        for part in _REFERENCE.split(str(text)):
            if not part.startswith("${"):
                if "${" in part:  # one around another
                    return None
                pattern += re.escape(part)
            elif nobody := _NOBODY.fullmatch(part):
                pattern += _filled(nobody["form"] or "%n")
            else:
                texts = self.values.get(tuple(part[2:-1].split(".")), []) if depth < DEEPEST else []
                patterns = [self._pattern(one, depth + 1) for one in texts]
                if not patterns or None in patterns:
                    return None
                pattern += f"(?:{'|'.join(map(str, patterns))})"
        return pattern

    def _forget(self, path: Path) -> None:
        """Drop what was typed for a key that is removed; `~scheduler` is about a preset, and its keys stay."""
        if len(path) > 1:
            self.values = {key: value for key, value in self.values.items() if key[: len(path)] != path}


def read(word: str) -> "Override | None":
    """Read a word as Hydra does; None for a flag, and for what it cannot read."""
    if word.startswith("-") or ("=" not in word and not word.startswith("~")):
        return None  # without Hydra, which takes its time to load
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def text(word: str) -> str:
    """Return the text that a word sets its key to; of one that Hydra cannot read, what follows the =."""
    override = read(word)
    value = override.value() if override is not None else None
    return value if isinstance(value, str) else word.partition("=")[2]


def written(value: str) -> str:
    """Return a text as it is typed for Hydra: in quotes where it would be read as something else."""
    from hydra.core.override_parser.types import Quote, QuotedString

    override = read(f"{KEY}={value}")
    plain = override is not None and override.value() == value
    return value if plain else QuotedString(value, Quote.single).with_quotes()


def quoted(word: str) -> str:
    """Return key=value with the value in quotes, if Hydra cannot read it without."""
    key, _, value = word.partition("=")
    attempts = (word, f'{key}="{value}"', f"{key}='{value}'")
    return next((attempt for attempt in attempts if read(attempt) is not None), word)


def pasted(key: str, value: str) -> str:
    """Return the word, quoted for a shell, by which Hydra reads the value. A file may put a command into a name."""
    return f"{key}={shlex.quote(written(value))}"


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return each value that is no mapping, by the parts of its key."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: leaf for name, inner in value.items() for key, leaf in leaves(inner, (*path, name)).items()}


def _component(value: Any, path: Path) -> Any:
    """Return a component that is written as layers are, `loss={HuberLoss: {delta: 2}}`, as it is composed."""
    if not isinstance(value, dict) or len(path) != 1:
        return value
    spelled = short.named(value) if path[0] in COMPONENTS else short.model(value) if path[0] == "model" else None
    return spelled or value


def _alternatives(override: "Override") -> list[Any]:
    """Return the value of each job; none of ranges, which hold numbers alone."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, Sweep

    value = override.value()
    if isinstance(value, ChoiceSweep):
        words = override.sweep_string_iterator()
        return [OverridesParser.create().parse_override(f"{KEY}={word}").value() for word in words]
    return [] if isinstance(value, Sweep) or override.is_sweep_override() else [value]


def _left(text: str) -> list[str]:
    """Return the references of a text to keys, without those to the time and to the job's number."""
    return [part for part in _REFERENCE.findall(text) if not _NOBODY.fullmatch(part)]


def _filled(form: str) -> str:
    """Return a regular expression of what a form such as `%Y-%m/%d` becomes."""
    parts = re.split("(%.)", form)
    return "".join(r"[\w:+, -]*" if part.startswith("%") else re.escape(part) for part in parts)
