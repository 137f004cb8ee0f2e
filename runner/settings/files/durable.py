"""Files that are whole or not there, whatever happens to the process, the disk's space or the power meanwhile."""

import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from runner.settings.trust import terminal

#: Bytes per write.
PIECE = 1 << 20
#: Free bytes that are left to others.
SPARE = 1 << 20
#: Seconds in which a full disk is waited for, and seconds until it is tried again.
PATIENCE, AGAIN = 60.0, 0.5
#: Files that are synced at once: a disk that takes one in 4 ms takes 32 in 8 ms.
AT_ONCE = 32
#: Files for which a thread of its own is worth its while.
EACH = 4
#: Seconds in which a full disk is reported once, however many runs of this process meet it.
SAID = 30.0
FULL = {errno.ENOSPC, errno.EDQUOT}
#: Errors of a disk, not of a program: no room, a limit for the size of a file, read-only, broken, a server of
#: files that is away or has begun anew.
DISK = {*FULL, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
DISK |= {errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO}
#: SQLite's errors of the disk, and of a store that another program has locked.
SQLITE = {
    sqlite3.SQLITE_FULL: "no space left for the tracking store",
    sqlite3.SQLITE_IOERR: "the tracking store's disk fails",
    sqlite3.SQLITE_READONLY: "the tracking store, or its folder, cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the tracking store, or its folder, cannot be written",
    sqlite3.SQLITE_BUSY: "another program has locked the tracking store; try again when it is done",
}
#: The beginning of the message of Python's tempfile, before the folders that it has tried.
NO_TEMPORARY = "No usable temporary directory found in "

T = TypeVar("T")


def write(path: Path, content: bytes | memoryview, lasting: bool = True, entry: bool = True) -> None:
    """Put `content` under `path`, whole or not at all: what was there before stays until the new file is on the disk.

    lasting: False for a file on its way to another place, which need not outlive a loss of power.
    entry: False if the caller makes the folder's entries last, of many files at once.
    Raises OSError if it cannot be written, as on a full disk; the former file is intact then.
    """
    demand(path.parent, len(content))
    part = beside(path)
    try:
        with part.open("wb", buffering=0) as file:
            _pour(file.fileno(), memoryview(content))
            if lasting:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if lasting and entry:
        sync_folder(path.parent)


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file that nobody reads before this returns, on its way to another place.

    It need not outlive a loss of power. Raises OSError if it cannot be written; it is not there then.
    """
    demand(path.parent, len(content))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _pour(handle, memoryview(content))
        finally:
            os.close(handle)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def beside(path: Path) -> Path:
    """Return the name of a file that takes the place of `path` when it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def publish_all(files: Sequence[tuple[Path | bytes, Path]]) -> None:
    """Put many files in their places, whole or not at all, and all of them on the disk when this returns.

    files: a file, which nobody writes any more, or bytes, and the place of each.
    """
    places = dict.fromkeys(place.parent for _, place in files)
    folders = dict.fromkeys(folder for place in places for folder in (place, *missing(place)))
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for source, place in files:
        _put(source, beside(place))
    sync_all(beside(place) for _, place in files)
    for _, place in files:
        part = beside(place)
        if place.exists() and place.samefile(part):  # of which a rename would leave both names
            part.unlink()
        else:
            part.replace(place)
    sync_all(folders)


def _put(source: Path | bytes, part: Path) -> None:
    """Write bytes; give a file a second name, or where its disk has none copy it."""
    if isinstance(source, bytes):
        part.write_bytes(source)
        return
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another disk, or a file system without links
        demand(part.parent, source.stat().st_size)
        shutil.copyfile(source, part)


def publish(files: Iterable[Path], folder: Path) -> None:
    """Copy `files` into `folder`, which is made, each of them whole."""
    parents = missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        write(folder / path.name, path.read_bytes(), entry=False)
    for parent in [folder, *parents]:
        sync_folder(parent)


def demand(folder: Path, size: int) -> None:
    """Raise OSError unless `size` bytes and a little more are free in `folder`'s file system."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        rest = f"{SPARE / 1e6:,.3f} MB are left to others"
        sizes = f"{size / 1e6:,.3f} MB are to be written and {rest}, {free / 1e6:,.3f} MB are free"
        raise OSError(errno.ENOSPC, f"no space left in {folder}: {sizes}")


def patiently(act: Callable[[], T], stop: Callable[[], object] = lambda: None) -> T:
    """Call `act` and return its result. On a full disk, print that and try again for PATIENCE seconds.

    stop: ends the waiting as soon as it returns anything but None.
    """
    until, waited = time.monotonic() + PATIENCE, False
    while True:
        try:
            result = act()
        except Exception as error:
            if not is_full(error) or stop() is not None or time.monotonic() > until:
                raise
            say_full(error)
            waited = True
            time.sleep(AGAIN)
            continue
        if waited:
            terminal.say("there is room on the disk again; going on")
        return result


_lock = threading.Lock()
_said = -SAID


def say_full(error: BaseException) -> None:
    """Print on standard error that a full disk is waited for, at most once in SAID seconds."""
    global _said
    with _lock:
        last, now = _said, time.monotonic()
        if now - last < SAID:
            return
        _said = now
    terminal.say(f"{reason(error)}; waiting for room, {PATIENCE:.0f} s at most")


#: Reason -> time at which a failing disk was reported last.
_named: dict[str, float] = {}


def say_failing(error: BaseException) -> None:
    """Print on standard error that a disk fails, at most once in SAID seconds for each reason."""
    why = (reason(error) or str(error)).partition(": ")[0]
    with _lock:
        last, now = _named.get(why, -SAID), time.monotonic()
        if now - last < SAID:
            return
        _named[why] = now
    terminal.say(f"{reason(error) or error}; training goes on, and what it records waits in memory")


def is_full(error: BaseException) -> bool:
    """Return whether the disk, or the share of it that one may use, is full: a later try may succeed."""
    return any(
        cause.errno in FULL
        if isinstance(cause, OSError)
        else getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        for cause in _causes(error)
    )


def reason(error: BaseException) -> str | None:
    """Return the disk's part in an error, in one line; None if it has none."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in DISK:
            path = cause.filename2 or cause.filename
            limit = _limit() if cause.errno == errno.EFBIG else ""
            return f"{cause.strerror}{limit}" + (f": {path}" if path else "")
        if isinstance(cause, FileNotFoundError) and NO_TEMPORARY in str(cause.strerror):
            tried = str(cause.strerror).partition(NO_TEMPORARY)[2]
            return f"no folder for temporary files can be written, of {tried}; name one that can: TMPDIR=FOLDER"
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in SQLITE:
            return SQLITE[code] + (_limit() if code == sqlite3.SQLITE_IOERR else "")
    return None


def _limit() -> str:
    """Return this process's limit for the size of a file, in words; "" if it has none."""
    try:
        import resource
    except ImportError:  # there is none on Windows
        return ""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return "" if most == resource.RLIM_INFINITY else f" (ulimit -f allows files of {most:,} bytes)"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that it came from, the first of them last."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def fill(path: Path) -> None:
    """Reserve room on the disk for a file that is written in memory: without it, a full disk kills the process."""
    if hasattr(os, "posix_fallocate") and (size := path.stat().st_size):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _pour(handle: int, content: memoryview) -> None:
    while content:
        content = content[os.write(handle, content[:PIECE]) :]


def sync_folder(folder: Path) -> None:
    """Write the folder's entries to the disk: the entry of a new file is not there before this. Of a file its bytes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(paths: Iterable[Path]) -> None:
    """Write many files, and entries of many folders, to the disk: at once, since a disk takes all of them together.

    Raises the OSError of the first that cannot be written.
    """
    paths = list(dict.fromkeys(paths))
    if len(paths) < 2:
        for path in paths:
            sync_folder(path)
        return
    count = min(-(-len(paths) // EACH), AT_ONCE)
    with ThreadPoolExecutor(count, "sync") as pool:
        for _ in pool.map(_sync_each, (paths[i::count] for i in range(count))):
            pass


def _sync_each(paths: Iterable[Path]) -> None:
    for path in paths:
        sync_folder(path)


def missing(folder: Path) -> list[Path]:
    """Return the folders that get a new entry when `folder` is made."""
    return [] if folder.exists() else [folder.parent, *missing(folder.parent)]
