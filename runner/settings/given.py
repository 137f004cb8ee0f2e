"""Objects of the calling program that take the place of a data source or of a model for one training."""

import contextlib
from collections.abc import Iterator
from typing import Any

from runner.settings.errors import ConfigError

_handed: dict[str, Any] = {}


@contextlib.contextmanager
def handed(key: str, thing: Any) -> Iterator[None]:
    """Hand a thing over for the block. key: data or model."""
    _handed[key] = thing
    try:
        yield
    finally:
        del _handed[key]


def taken(key: str) -> Any:
    """Return what was handed over. Raises ConfigError where nothing was: the run is repeated without its program."""
    if key not in _handed:
        raise ConfigError(
            key,
            f"the {key} of this run was handed over by a program in Python, and a record cannot hold it; train in that"
            f" program again, runner.train(..., {key}=...), or describe it in a study",
        )
    return _handed[key]
