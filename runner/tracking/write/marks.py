"""Marks that only this user's processes can make: what carries one was written by one of them, and is unchanged.

The key is outside of every working directory, so that another user's folder has no mark of ours.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import Any

BYTES = 32


def mark(*parts: Any) -> str:
    """Return the mark of plain values, a keyed SHA-256; "" if this user has no place for a key."""
    key = _key()
    return hmac.new(key, json.dumps(parts, sort_keys=True).encode(), hashlib.sha256).hexdigest() if key else ""


def is_ours(value: Any, *parts: Any) -> bool:
    """Return whether `value` is the mark of the values `parts`."""
    own = mark(*parts)
    return isinstance(value, str) and bool(own) and hmac.compare_digest(value.encode(), own.encode())


def _key() -> bytes:
    """Return this user's key, made if there is none; empty if there can be none."""
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(state) / "runner" / "key"
        if not path.exists():
            _make(path)
        elif not path.lstat().st_size and _is_mine(path):  # of a machine that lost power just then
            path.unlink()
            _make(path)
        content = path.read_bytes() if _is_mine(path) else b""
        return content if len(content) == BYTES else b""
    return b""


def _is_mine(path: Path) -> bool:
    """Return whether only this user can read or write the file."""
    state = path.lstat()
    mine = not hasattr(os, "getuid") or (state.st_uid == os.getuid() and not stat.S_IMODE(state.st_mode) & 0o077)
    return mine and stat.S_ISREG(state.st_mode)


def _make(path: Path) -> None:
    """Write a new key, whole or not at all. Of several processes the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".key.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(handle, secrets.token_bytes(BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
