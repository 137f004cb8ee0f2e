"""One file per command: `with_settings` takes a configuration, `with_run` a recorded run and its keyword arguments."""

import pkgutil


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
