"""Files that are whole or not there, whatever happens to the process, the disk's space or the power meanwhile."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

#: Bytes per write.
PIECE = 1 << 20
#: Free bytes that are left to others.
SPARE = 1 << 20


def write(path: Path, content: bytes | memoryview, lasting: bool = True, entry: bool = True) -> None:
    """Put `content` under `path`, whole or not at all: what was there before stays until the new file is on the disk.

    lasting: False for a file on its way to another place, which need not outlive a loss of power.
    entry: False if the caller makes the folder's entries last, of many files at once.
    Raises OSError when it cannot be, for want of space among others, with the former file intact.
    """
    demand(path.parent, len(content))
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb", buffering=0) as file:
            _pour(file.fileno(), memoryview(content))
            if lasting:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if lasting and entry:
        _sync_folder(path.parent)


def publish(files: Iterable[Path], folder: Path) -> None:
    """Copies of `files` in `folder`, which is made, each of them whole."""
    made = _missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        write(folder / path.name, path.read_bytes(), entry=False)
    for parent in [folder, *made]:
        _sync_folder(parent)


def demand(folder: Path, size: int) -> None:
    """Raise OSError unless `size` bytes and a little more are free in `folder`'s file system."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise OSError(
            28, f"no space left in {folder}: {size / 1e6:,.1f} MB are to be written, {free / 1e6:,.1f} MB are free"
        )


def _pour(handle: int, content: memoryview) -> None:
    while content:
        content = content[os.write(handle, content[:PIECE]) :]


def _sync_folder(folder: Path) -> None:
    """The entry of a new file in its folder is not on the disk before this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing(folder: Path) -> list[Path]:
    """The folders that will have a new entry when `folder` is made."""
    return [] if folder.exists() else [folder.parent, *_missing(folder.parent)]
