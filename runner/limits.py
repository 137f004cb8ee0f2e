"""How large a configuration may be, and its files checked for it before anything builds what they say."""

from pathlib import Path
from typing import Any

import yaml

from runner.errors import ConfigError

#: Bytes of one file.
BYTES = 1_000_000
#: Values of one file, each alias counted with all that it stands for.
VALUES = 100_000
#: Lists and mappings inside of each other.
DEPTH = 60
#: Layers of a model, those inside of others included.
LAYERS = 10_000
#: Jobs of a sweep.
JOBS = 10_000

#: C, where PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check(path: Path, name: str) -> None:
    """Raise ConfigError for a YAML file that is too large, too deep, no YAML, or that names Python objects.

    name: what to call the file. Nothing is built: aliases are counted, not copied.
    """
    if path.stat().st_size > BYTES:
        raise ConfigError(name, f"the file has {path.stat().st_size:,} bytes; expected at most {BYTES:,}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            name, f"the file is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    check_text(text, name)


def check_text(text: str, name: str) -> None:
    """The same for what a file holds."""
    try:
        _count(text, name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ConfigError(place, f"this is not YAML: {problem}; check brackets, quotes and indentation") from error


def _count(text: str, name: str) -> None:
    sizes: dict[str, int] = {}  # anchor -> values below it
    open_ones: list[tuple[str | None, int]] = []  # (anchor, values before it)
    total = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        tag = getattr(event, "tag", None)
        if (tag and not tag.startswith("tag:yaml.org,2002:")) or (tag and "python" in tag):
            raise ConfigError(
                f"{name}:{line}", f"the tag {tag!r} is not allowed, as it may name code; write a plain value"
            )
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in [anchor for anchor, _ in open_ones]:
                raise ConfigError(f"{name}:{line}", f"*{event.anchor} stands inside of itself; write it out")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, total))
            if len(open_ones) > DEPTH:
                raise ConfigError(
                    f"{name}:{line}", f"more than {DEPTH} lists and mappings inside of each other; use fewer"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        if total > VALUES:
            raise ConfigError(f"{name}:{line}", f"more than {VALUES:,} values, aliases counted in full; use fewer")
