"""The data that were read last, kept for the next job of a sweep, which most often reads the same."""

import copy
import json
from collections.abc import Callable
from typing import Any

from runner.data import Data, Tensors
from runner.settings.files import filenames

#: Bytes of one set of data that is kept; each job gets a copy, so that none can change what the next one sees.
MOST = 2**28
#: Sets that are kept: what the checks have seen, as the source takes it and as the loss does, and what was trained on.
SETS = 3

_kept: dict[str, Data] = {}


def read(source: Callable[..., Data], arguments: dict[str, Any]) -> Data:
    """What `source(**arguments)` gives.

    Only our own sources are spared the reading: one of the user's may draw random numbers, or do anything else. So is
    nothing that a file holds whose time or size is another by now, and no folder.
    """
    key = _key(source, arguments)
    if key is None:
        return source(**arguments)
    if key not in _kept:
        found = source(**arguments)
        if not isinstance(found, Data) or _size(found) > MOST:
            return found
        while len(_kept) >= SETS:
            _kept.pop(next(iter(_kept)))
        _kept[key] = found
    return copy.deepcopy(_kept[key])


def clear() -> None:
    """Forget all of it: there is no next job."""
    _kept.clear()


def _key(source: Any, arguments: dict[str, Any]) -> str | None:
    if not str(source.__module__).startswith("runner.data."):
        return None
    stamps = []
    for name in ("path", "x", "y"):
        if isinstance(arguments.get(name), str):
            path = filenames.path(arguments[name]).absolute()
            if not filenames.is_file(path):
                return None
            now = path.stat()
            stamps.append([str(path), now.st_ino, now.st_size, now.st_mtime_ns])
    return json.dumps([source.__module__, source.__qualname__, arguments, stamps], sort_keys=True, default=repr)


def _size(data: Data) -> float:
    """Bytes of the tensors; infinite for what is not in memory."""
    parts = [part for part in (data.train, data.valid, data.test) if part is not None]
    if not all(isinstance(part, Tensors) for part in parts):
        return float("inf")
    tensors = [tensor for part in parts for tensor in (part.x, part.y)]  # type: ignore[union-attr]
    return sum(tensor.nbytes for tensor in tensors if not tensor.is_meta)
