"""A mark that only this user's processes can make: what carries it was written by one of them, and is as it was.

The key is outside of every working directory, so that a folder that comes from somebody else carries no mark of ours.
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
    """The mark of plain values; "" where this user has no place for a key."""
    key = _key()
    return hmac.new(key, json.dumps(parts, sort_keys=True).encode(), hashlib.sha256).hexdigest() if key else ""


def is_ours(found: Any, *parts: Any) -> bool:
    """Whether `found` is the mark of these values."""
    wanted = mark(*parts)
    return isinstance(found, str) and bool(wanted) and hmac.compare_digest(found.encode(), wanted.encode())


def _key() -> bytes:
    """This user's key, made if there is none; empty if there can be none."""
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
    """Whether nobody else can read or write the file."""
    found = path.lstat()
    mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077)
    return mine and stat.S_ISREG(found.st_mode)


def _make(path: Path) -> None:
    """Whole or not at all, and the first of several processes counts."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".key.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(handle, secrets.token_bytes(BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
