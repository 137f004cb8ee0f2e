"""Limits of the size of a configuration; its files are checked before anything is built of them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runner.settings.errors import ConfigError, first_line

#: Bytes of one file.
BYTES = 1_000_000
#: Values of one file, each alias counted with all that it stands for.
VALUES = 100_000
#: Lists and mappings inside of each other.
DEPTH = 60
#: References (`${...}`) of a file, or resolved for one value, and how deep they may stand inside of each other.
REFERENCES, NESTED = 5_000, 20
#: Characters of one number.
NUMBER = 400
#: Layers of a model, those inside of others included.
LAYERS = 10_000
#: Jobs of a sweep.
JOBS = 10_000

#: Tags of plain values.
PLAIN = ("!", *(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "map", "null", "seq", "str")))

#: C, where PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Texts that YAML may take for a number; one without end would take it minutes to read.
_NUMBER = re.compile(r"[-+.]?[0-9][0-9a-fA-FxX_:.+-]*")


def check(path: Path, name: str) -> None:
    """Raise ConfigError for a YAML file that is too large, too deep, no YAML, or that names Python objects.

    name: what to call the file. Nothing is built: aliases are counted, not copied.
    """
    check_size(path.stat().st_size, name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            name, f"the file is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    check_text(text, name)


def check_size(size: int, name: str) -> None:
    """Raise ConfigError for more bytes than a file may have. name: what to call the file."""
    if size > BYTES:
        raise ConfigError(name, f"the file has {size:,} bytes; expected at most {BYTES:,}")


def check_text(text: str, name: str) -> None:
    """Raise ConfigError for the text of a YAML file that `check` would refuse. name: what to call it."""
    if text.count("${") > REFERENCES:
        raise ConfigError(name, f"the file has more than {REFERENCES:,} references (${{...}}); use fewer")
    try:
        _count(text, name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(place, f"this is not YAML: {problem}; check brackets, quotes and indentation") from error


def _count(text: str, name: str) -> None:
    """Count the values of a text, aliases in full, and refuse what is beyond the limits."""
    sizes: dict[str, int] = {}  # anchor -> values below it
    open_ones: list[_Open] = []
    total = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        place = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ConfigError(place, "a second document begins here; put it into a file of its own")
        if isinstance(event, yaml.AliasEvent | yaml.NodeEvent):
            _check_node(event, open_ones, place)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in [one.anchor for one in open_ones]:
                raise ConfigError(place, f"*{event.anchor} refers to itself; write it out")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append(_Open(event.anchor, total, isinstance(event, yaml.MappingStartEvent)))
            if len(open_ones) > DEPTH:
                raise ConfigError(place, f"more than {DEPTH} lists and mappings inside of each other; use fewer")
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = open_ones.pop()
            if closed.anchor:
                sizes[closed.anchor] = total - closed.before + 1
        if total > VALUES:
            raise ConfigError(place, f"more than {VALUES:,} values, aliases counted in full; use fewer")


@dataclass
class _Open:
    """A list or a mapping whose end has not been read."""

    anchor: str | None
    before: int  # values of the file before it
    mapping: bool
    keys: set[str] = field(default_factory=set)
    inner: int = 0  # values directly in it; in a mapping every second is a key


def _check_node(event: Any, open_ones: list[_Open], place: str) -> None:
    """Refuse tags beyond YAML's plain values, a file that is no mapping, and keys that are no words or stand twice."""
    tag = getattr(event, "tag", None)
    if tag and tag not in PLAIN:
        is_yamls = tag.startswith("tag:yaml.org,2002:") and "python" not in tag
        why = "is not taken" if is_yamls else "is not allowed, as it may name code"
        raise ConfigError(place, f"the tag {tag!r} {why}; write a plain value")
    if isinstance(event, yaml.ScalarEvent):
        _check_scalar(event, place)
    if not open_ones:
        if isinstance(event, yaml.SequenceStartEvent) or getattr(event, "value", "") not in ("", "null", "~"):
            raise ConfigError(place, "the file holds no keys; expected keys and values, as in `seed: 1`")
        return
    inside = open_ones[-1]
    inside.inner += 1
    if inside.mapping and inside.inner % 2:
        key = event.value if isinstance(event, yaml.ScalarEvent) else None
        if key in (None, "", "null", "~"):
            raise ConfigError(place, "a key is not a word here; expected `key: value`")
        if key in inside.keys:
            raise ConfigError(place, f"duplicate {key!r}; remove one")
        inside.keys.add(key)


def _check_scalar(event: Any, place: str) -> None:
    """Refuse a number without end, and references inside of each other that OmegaConf does not come out of."""
    if event.implicit[0] and len(event.value) > NUMBER and _NUMBER.fullmatch(event.value):
        raise ConfigError(place, f"a number of {len(event.value):,} characters; expected at most {NUMBER}")
    depth = 0
    for brace in re.finditer(r"\$\{|\}", event.value):
        depth = max(depth + (1 if brace[0] == "${" else -1), 0)
        if depth > NESTED:
            raise ConfigError(place, f"more than {NESTED} references (${{...}}) inside of each other; use fewer")
