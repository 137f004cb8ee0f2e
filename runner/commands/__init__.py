"""Commands, one file each: `with_settings` takes a configuration, `with_run` a recorded run and keyword arguments."""

import pkgutil


def names() -> list[str]:
    """Return the names of all commands, which are the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
