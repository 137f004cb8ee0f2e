"""Files and folders that `data.path`, `data.x`, `data.y` and `inputs` name."""

from pathlib import Path

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.files import filenames, places


def file(path: str | None, key: str, what: str, example: str) -> Path:
    """Return the file `path`, relative to the working directory. Raises ConfigError where there is none.

    key: of the configuration. what, example: words for what is expected there, and a value; for messages.
    """
    place = existing(path, key, what, example)
    if place.is_dir():
        raise ConfigError(key, f"{str(path)!r} is a folder; expected {what}, e.g. {key}={example}")
    return place


def folder(path: str | None, key: str, what: str, example: str) -> Path:
    """Return the folder `path`; the arguments are those of `file`. Raises ConfigError where there is none."""
    place = existing(path, key, what, example)
    if not place.is_dir():
        raise ConfigError(key, f"{str(path)!r} is a file; expected {what}, e.g. {key}={example}")
    return place


def existing(path: str | None, key: str, what: str, example: str) -> Path:
    """Return the file or folder `path`; the arguments are those of `file`. Raises ConfigError where there is none."""
    if not path:
        raise ConfigError(key, f"missing; give {what}, e.g. {key}={example}")
    place = filenames.path(path)
    if not filenames.exists(place) and place.parts[:1] == ("experiments",):  # data of the studies that come with us
        shipped = [folder.parent / place for folder in places.experiments()]
        place = next((one for one in shipped if filenames.exists(one)), place)
    if not filenames.exists(place):
        missing = _first_missing(place)
        folder = "" if place.is_absolute() else f" in {Path.cwd()}"
        names = [p.name for p in missing.parent.iterdir()] if missing.parent.is_dir() else []
        raise ConfigError(key, f"there is no {str(missing)!r}{folder}{did_you_mean(missing.name, sorted(names))}")
    if not place.is_file() and not place.is_dir():  # a pipe, which can be read once, or would be waited for
        raise ConfigError(key, f"{str(path)!r} is a pipe or a device; write what it gives to a file first")
    return place


def _first_missing(path: Path) -> Path:
    """Return `path`, or the topmost of its folders that does not exist: that is where the typing error is."""
    while not filenames.exists(path.parent):
        path = path.parent
    return path
