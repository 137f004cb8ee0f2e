"""Files that a command writes for its user: no file is overwritten unasked, and none is left half written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.files import filenames


def place(output: str, suffix: str | tuple[str, ...], overwrite: bool, key: str = "output") -> Path:
    """Return the file that `output` names. Raises ConfigError if it must not be written.

    suffix: the ending that the name must have, or several of which it must have one.
    overwrite: an existing file may be replaced. key: the key of the command that names the file.
    """
    path = filenames.path(output)
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    if path.suffix not in suffixes:
        expected = " or ".join(suffixes)
        raise ConfigError(key, f"{output!r} ends in {path.suffix!r}; expected {expected}, e.g. {key}=file{suffixes[0]}")
    if len(path.name.encode()) > filenames.MOST:
        raise ConfigError(key, f"the file's name has {len(path.name.encode())} bytes; at most {filenames.MOST}")
    if not filenames.is_folder(path.parent):
        raise ConfigError(key, f"there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir() or (path.exists() and not overwrite):
        remedy = "name another file" if path.is_dir() else "name another file, or add overwrite=true"
        raise ConfigError(key, f"{output!r} exists already; {remedy}")
    return path


@contextlib.contextmanager
def whole(place: Path) -> Iterator[Path]:
    """Yield a path to write to; its file is renamed to `place` when the block ends without an error."""
    beside = place.with_name(f".{place.stem}.part{place.suffix}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def classes(data: dict[str, Any]) -> list[str]:
    """Return lines with the classes, or labels, of each target. data: the facts on a run's data, see `recall.data`."""
    task, names = data["task"], data["classes"]
    several = names if isinstance(names, dict) else {"": names}
    kinds = {name: task[name] if isinstance(task, dict) else task for name in several}
    words = {name: "labels" if kind == "multilabel" else "classes" for name, kind in kinds.items()}
    return [f"{words[name]}{f' of {name}' if name else ''}: {', '.join(of)}" for name, of in several.items() if of]
