"""Files that a command writes for its user: never over another by mistake, and whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from runner.settings.errors import ConfigError
from runner.settings.files import filenames


def place(output: str, suffix: str | tuple[str, ...], overwrite: bool, key: str = "output") -> Path:
    """The file that `output` names, if it may be written. Raises ConfigError otherwise.

    suffix: what its name must end in, or several of which it may end in one.
    """
    found = filenames.path(output)
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    if found.suffix not in suffixes:
        expected = " or ".join(suffixes)
        raise ConfigError(
            key, f"{output!r} ends in {found.suffix!r}; expected {expected}, e.g. {key}=file{suffixes[0]}"
        )
    if len(found.name.encode()) > filenames.MOST:
        raise ConfigError(key, f"the file's name has {len(found.name.encode())} bytes; at most {filenames.MOST}")
    if not filenames.is_folder(found.parent):
        raise ConfigError(key, f"there is no folder {str(found.parent)!r}; make it first")
    if found.is_dir() or (found.exists() and not overwrite):
        remedy = "name another file" if found.is_dir() else "name another file, or add overwrite=true"
        raise ConfigError(key, f"{output!r} exists already; {remedy}")
    return found


@contextlib.contextmanager
def whole(place: Path) -> Iterator[Path]:
    """A path to write to, whose file takes the name `place` when the block has ended by itself."""
    beside = place.with_name(f".{place.stem}.part{place.suffix}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
