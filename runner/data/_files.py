"""Finding the files and folders that `data.path`, `data.x` and `data.y` name."""

from pathlib import Path

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.files import filenames


def file(path: str | None, key: str, what: str, example: str) -> Path:
    """The file `path`, relative to the working directory; ConfigError when there is none."""
    found = existing(path, key, what, example)
    if found.is_dir():
        raise ConfigError(key, f"{str(path)!r} is a folder; expected {what}, e.g. {key}={example}")
    return found


def folder(path: str | None, key: str, what: str, example: str) -> Path:
    """The folder `path`, relative to the working directory; ConfigError when there is none."""
    found = existing(path, key, what, example)
    if not found.is_dir():
        raise ConfigError(key, f"{str(path)!r} is a file; expected {what}, e.g. {key}={example}")
    return found


def existing(path: str | None, key: str, what: str, example: str) -> Path:
    """The file or folder `path`, relative to the working directory; ConfigError when there is none."""
    if not path:
        raise ConfigError(key, f"missing; give {what}, e.g. {key}={example}")
    found = filenames.path(path)
    if not filenames.exists(found):
        raise ConfigError(key, f"there is no {str(_first_missing(found))!r}{_where(found)}{_nearest(found)}")
    if not found.is_file() and not found.is_dir():  # a pipe, which can be read once, or would be waited for
        raise ConfigError(key, f"{str(path)!r} is a pipe or a device; write what it gives to a file first")
    return found


def _first_missing(path: Path) -> Path:
    """`path`, or the topmost of its folders that does not exist: that is where the typing error is."""
    while not filenames.exists(path.parent):
        path = path.parent
    return path


def _where(path: Path) -> str:
    return "" if path.is_absolute() else f" in {Path.cwd()}"


def _nearest(path: Path) -> str:
    missing = _first_missing(path)
    names = [p.name for p in missing.parent.iterdir()] if missing.parent.is_dir() else []
    return did_you_mean(missing.name, sorted(names))
