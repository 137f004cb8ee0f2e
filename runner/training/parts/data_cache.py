"""A cache of the data read last, for the next job of a sweep, which most often reads the same."""

import copy
import json
from collections.abc import Callable
from typing import Any

from runner.data import Data, Tensors, nests
from runner.data._folds import called
from runner.settings.files import filenames

#: Bytes of a set of data up to which it is cached. Each job gets a copy, so that none can change the next one's data.
MOST = 2**28
#: Sets in the cache: those of the checks, with the source's task and with the loss's, and that of the training.
SETS = 3

_cache: dict[str, Data] = {}


def read(source: Callable[..., Data], arguments: dict[str, Any]) -> Data:
    """Return `source(**arguments)`, from the cache if it is there.

    Only data of our own sources is cached: the user's may draw random numbers, or do anything else. A file whose time
    or size has changed is read again, and a folder always.
    """
    key = identity(source, arguments)
    if key is None:
        return called(source, arguments)
    if key not in _cache:
        data = called(source, arguments)
        if not isinstance(data, Data) or _size(data) > MOST:
            return data
        while len(_cache) >= SETS:
            _cache.pop(next(iter(_cache)))
        _cache[key] = data
    return copy.deepcopy(_cache[key])


def clear() -> None:
    """Empty the cache; for a command without a next job."""
    _cache.clear()


def identity(source: Any, arguments: dict[str, Any]) -> str | None:
    """Return what the data of one of our own sources depends on; None for data that has to be read anew."""
    if not str(source.__module__).startswith("runner.data."):
        return None
    stamps = []
    for name in ("path", "valid_path", "test_path", "x", "y", "root"):
        value = arguments.get(name)
        several = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for text in [text for text in several if isinstance(text, str)]:
            path = filenames.path(text).absolute()
            if not filenames.is_file(path):
                return None
            status = path.stat()
            stamps.append([str(path), status.st_ino, status.st_size, status.st_mtime_ns])
    return json.dumps([source.__module__, source.__qualname__, arguments, stamps], sort_keys=True, default=repr)


def _size(data: Data) -> float:
    """Return the bytes of the tensors; infinite for data that is not in memory."""
    parts = [part for part in (data.train, data.valid, data.test) if part is not None]
    if not all(isinstance(part, Tensors) for part in parts):
        return float("inf")
    tensors = [tensor for part in parts for tensor in nests.leaves((part.x, part.y))]  # type: ignore[union-attr]
    return sum(tensor.nbytes for tensor in tensors if not tensor.is_meta)
