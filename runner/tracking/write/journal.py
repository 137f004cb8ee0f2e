"""A file of entries, one a line, that is only appended to; what the disk does not take waits in memory."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.settings.files import durable

#: One thing to deliver; see spool.py.
Entry = dict[str, Any]


@dataclass
class Journal:
    """The entries in the file at `path`, which need not exist. Only one process at a time may have it."""

    path: Path
    size: int = 0  # bytes that hold whole entries
    unwritten: list[Entry] = field(default_factory=list)  # come after those in the file
    error: OSError | None = None  # why they are not in the file

    def __post_init__(self) -> None:
        if not self.path.exists():  # as of most spools
            return
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in file:  # half a line at the end is of a process that was killed, or a disk that was full
                self.size += len(line) if line.endswith(b"\n") else 0

    def append(self, entries: Iterable[Entry]) -> None:
        """Write all entries at once, after those that are still unwritten. What fails is tried again next time.

        Not fsynced: a process that dies loses none that were written, a machine that does may.
        """
        self.unwritten += entries
        if not self.unwritten:
            return
        try:
            with self.path.open("ab", buffering=0) as file:
                file.truncate(self.size)
                text = "".join(json.dumps(entry) + "\n" for entry in self.unwritten).encode()
                while text:
                    text = text[file.write(text) :]
                self.size = file.tell()
            self.unwritten, self.error = [], None
        except OSError as error:
            self.error = error

    def entries(self, start: int = 0) -> Iterator[tuple[Entry, int]]:
        """Yield the entries from byte `start` on, each with the byte where the next begins; then the unwritten ones."""
        if start < self.size:
            with self.path.open("rb") as file:
                file.seek(start)
                while start < self.size:
                    line = file.readline()
                    start += len(line)
                    yield json.loads(line), start
        for entry in list(self.unwritten):
            yield entry, self.size

    def replace(self, entries: list[Entry]) -> None:
        """Replace all entries by these. Raises OSError, and those in the file stay, if the disk does not take them."""
        if entries:
            text = "".join(json.dumps(entry) + "\n" for entry in entries)
            replace(self.path, text)
            self.size = len(text.encode())
        else:
            self.clear()
        self.unwritten, self.error = [], None

    def clear(self) -> None:
        """Delete all entries. That needs no room on the disk."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path, 0)
        self.size, self.unwritten, self.error = 0, [], None

    @property
    def is_whole(self) -> bool:
        """True if all entries can be read back from the file."""
        try:
            for _ in self.entries():
                pass
        except (OSError, ValueError):  # a line that is missing is no JSON either
            return False
        return not self.unwritten


def replace(path: Path, text: str, lasting: bool = False) -> None:
    """Write `text` into the file, which is whole or as it was before. Raises OSError if the disk does not take it.

    lasting: it outlives a loss of power too.
    """
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("w") as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for folder in path.parents[:2] if lasting else ():
        durable.sync_folder(folder)
