"""A run's spool: a folder with an append-only file of what its store does not have yet, which outlives the process."""

import contextlib
import errno
import os
import shutil
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.settings.files import durable, uris
from runner.tracking.write import spool_header
from runner.tracking.write.journal import Entry as Entry
from runner.tracking.write.journal import Journal
from runner.tracking.write.spool_files import SpoolFiles

# An entry is one thing to deliver: {"points": [[key, value, milliseconds, step], ...]}, {"params": {}},
# {"end": status, ...} or {"files": id, "from": folder, "to": artifact folder, "tags": {}}; tags come after the files.
# Of a checkpoint, {"files": ..., "name": "last", "step": 12, "sha256": {}, "keep": 2}: which tags name it and which
# older ones go follows from what the store has then. With "model": step, the files are an MLflow model.
# An entry that the store has refused has "refused": why.

#: Beyond so many bytes a file of which everything was delivered is begun anew.
LARGE = 16_000_000
#: Seconds in which a `runner sync` that has come upon a run's new spool leaves it again.
MOMENT = 10.0


class Undelivered(Exception):
    """The store does not have all of the record. The message names where the rest is; `status` is how the run ended."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def place(uri: str) -> Path:
    """Return the folder of spools: beside a local store, otherwise in the working directory."""
    path = uris.sqlite_path(uri)
    return (Path.cwd() if path is None else path.parent) / ".runner" / "spool"


def try_out(uri: str) -> None:
    """Raise OSError if no spool can be written, before there is a run that needs one."""
    folder = place(uri)
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / f".tried-{os.getpid()}-{threading.get_ident()}"
    try:
        trial.write_bytes(b"\0" * 4096)
    finally:
        trial.unlink(missing_ok=True)


def folders(uri: str) -> list[Path]:
    """Return the spools that `runner sync` can see: those of the working directory, and those beside the store."""
    return sorted({folder for above in (place(""), place(uri)) for folder in above.glob("*/") if folder.is_dir()})


@dataclass
class Spool:
    """One run's folder. Its lock keeps other processes out until `release` or the process's end."""

    folder: Path
    header: dict[str, Any] = field(default_factory=dict)  # uri, process, ...: see spool_header
    lock: Any = None
    beside: Path | None = None  # the folder as seen from the working directory, if it is within it
    _checkpoints: dict[Any, list[int]] | None = None  # see _steps
    _mark: int | None = None  # how far everything is delivered, if the disk did not take that

    def __post_init__(self) -> None:
        self.log = Journal(self.folder / "log.jsonl")
        self.refused = Journal(self.folder / "refused.jsonl")  # entries that the store did not take, and will not
        self.files = SpoolFiles(self.folder)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.folder.name

    def follow(self) -> None:
        """Find the folder again when the working directory was moved together with it."""
        if (self.folder / spool_header.NAME).exists():
            return
        with contextlib.suppress(OSError):
            moved = Path.cwd() / self.beside if self.beside is not None else self.folder
            if (moved / spool_header.NAME).exists():
                self.folder = self.files.folder = moved
                for journal in (self.log, self.refused):
                    journal.path = moved / journal.path.name

    def append(self, entries: list[Entry]) -> None:
        """Add entries that are to be delivered. What the disk does not take waits in memory."""
        for entry in entries:
            if "name" in entry and self._checkpoints is not None:
                insort(self._checkpoints.setdefault(entry["name"], []), entry.get("step", 0))
        self.log.append(entries)

    def entries(self, start: int) -> Iterator[tuple[Entry, int]]:
        """Yield the entries from that place in the file on, each with the place where the next begins."""
        return self.log.entries(start)

    @property
    def delivered(self) -> int:
        """Bytes of the file up to which the store has everything. It may have more, if a process died just then."""
        if self._mark is not None:
            return self._mark
        self.follow()
        try:
            return int((self.folder / "delivered").read_text() or 0)
        except FileNotFoundError:
            return 0

    def mark(self, delivered: int, passing: bool = False) -> int:
        """Note how far the store has everything. Returns where that is in the file now.

        passing: it is not noted on the disk, because the spool goes now, or there is no harm in sending it again.
        """
        everything = delivered == self.log.size
        if everything:
            self.log.unwritten.clear()
        if everything and passing:  # a process that dies leaves one that is delivered again
            self._mark = delivered
            return delivered
        if everything and delivered and (delivered > LARGE or self.log.error is not None):
            (self.folder / "delivered").unlink(missing_ok=True)  # first: no entry may count as delivered that is not
            self.log.clear()
            self._mark = self._checkpoints = None
            return 0
        try:
            _write_mark(f"{self.folder}/delivered", delivered)
            self._mark = None
        except OSError:  # a full disk: a delivery from the former mark asks the store what it has
            self._mark = delivered
        return delivered

    def locate(self, entry: Entry) -> Path | None:
        """Return where the files of an entry are; None if newer ones take their place.

        Raises FileNotFoundError if they are lost.
        """
        for folder in (self.files.inside(entry), Path(entry["from"])):
            if folder.is_dir():
                return folder if any(folder.iterdir()) else None
        if self.is_superseded(entry):
            return None
        raise FileNotFoundError(f"the files for {entry['to'] or 'the run'} are gone: {entry['from']}")

    def is_superseded(self, entry: Entry) -> bool:
        """Return whether as many newer checkpoints of this name as the run keeps are to be delivered too."""
        steps = self._steps().get(entry.get("name"), [])
        newer = len(steps) - bisect_left(steps, entry.get("step", 0)) - 1  # without itself
        return "name" in entry and newer >= int(entry.get("keep", 1))

    def _steps(self) -> dict[Any, list[int]]:
        """Return the sorted steps of the checkpoints to deliver, by name; read once, since there may be many."""
        if self._checkpoints is None:
            entries = (entry for entry, _ in (*self.refused.entries(), *self.log.entries()) if "name" in entry)
            numbered = {entry["files"]: entry for entry in entries}
            self._checkpoints = {}
            for entry in numbered.values():
                insort(self._checkpoints.setdefault(entry["name"], []), entry.get("step", 0))
        return self._checkpoints

    @property
    def is_empty(self) -> bool:
        """True if the store has everything."""
        return not self.log.unwritten and self.delivered == self.log.size and not self.refuses

    @property
    def refuses(self) -> bool:
        """True if the store has refused an entry."""
        return bool(self.refused.size or self.refused.unwritten)

    def missing(self) -> list[str]:
        """List, in words, what is not delivered and cannot be read back from this disk; [] if nothing."""
        try:
            words = self._unreadable()
        except (OSError, ValueError):  # the folder was deleted under the run, or damaged
            words = []
        is_whole = self.log.is_whole and self.refused.is_whole and spool_header.read(self.folder) == self.header
        if not words and not is_whole:
            words.append(f"what {self.folder} should hold")
        return list(dict.fromkeys(words))

    def _unreadable(self) -> list[str]:
        points = sum(len(entry.get("points", ())) for entry in (*self.log.unwritten, *self.refused.unwritten))
        words = [f"{points} points"] if points else []
        words += ["how the run ended"] if any("end" in entry for entry in self.log.unwritten) else []
        return words + [entry["to"] or "files of the run" for entry in self.outside()]

    def outside(self) -> list[Entry]:
        """Return the undelivered entries whose files are not in the spool, without those that are superseded."""
        entries = [entry for entry, _ in self.undelivered() if "files" in entry]
        return [entry for entry in entries if not self.files.holds(entry) and not self.is_superseded(entry)]

    def undelivered(self) -> Iterator[tuple[Entry, int]]:
        """Iterate over the entries that were refused, then over those not delivered yet."""
        yield from self.refused.entries()
        yield from self.log.entries(self.delivered)

    def release(self) -> None:
        """Release the lock, so that another process may open the spool."""
        self.lock.release()

    def remove(self) -> None:
        """Remove the folder, whose entries have all been delivered. What the disk does not delete stays.

        The lock goes last: until then no other process can open the folder, and a process that is killed meanwhile
        leaves a spool that the next `runner sync` can remove.
        """
        own = (self.log.path.name, self.refused.path.name, "delivered", spool_header.NAME)
        with contextlib.suppress(OSError):
            # The header, which says whose it is, goes last of what is in it.
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == spool_header.NAME):
                is_part = path.suffix == ".part"  # of a process that was killed as it wrote them
                if path.name == "files" or (is_part and path.is_dir()):
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name in own or is_part:
                    with contextlib.suppress(OSError):
                        path.unlink()
            (self.folder / "lock").unlink()
        self._remove_folder()
        self.release()
        self._remove_folder()  # NFS keeps a file that is open

    def _remove_folder(self) -> None:
        with contextlib.suppress(OSError):  # of another process by now, or with a file that is not ours
            self.folder.rmdir()


def _write_mark(path: str, delivered: int) -> None:
    """Write how far the store has everything: more than before, in one call, so that no half of it is ever there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(handle, b"%d" % delivered)
    finally:
        os.close(handle)


def create(uri: str, run_id: str, process: dict[str, Any], lasting: bool = True) -> Spool:
    """Create the spool of a run that begins, or open the one that the run has, for this process.

    process: as `liveness.process` describes it. lasting: False if the caller syncs many spools with `sync`.
    Raises OSError if the disk does not take it, or another process has it open.
    """
    folder, until = place(uri) / run_id, time.monotonic() + MOMENT
    while (spool := take(folder)) is None:  # a `runner sync` that has come upon it leaves it in a moment
        if time.monotonic() > until:
            raise OSError(errno.EBUSY, "another process is at it", str(folder))
        time.sleep(0.02)
    spool.header = spool_header.write(folder, uri, process, lasting)
    return spool


def sync(spools: Iterable[Spool]) -> None:
    """Write the headers of new spools to the disk, so that they outlive a loss of power."""
    spools = list(spools)
    headers = (spool.folder / spool_header.NAME for spool in spools)
    durable.sync_all([*headers, *(place for spool in spools for place in (spool.folder, spool.folder.parent))])


def take(folder: Path) -> Spool | None:
    """Open a spool and lock it; None if another process has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder)
    return None if held is None else opened(folder, held)


def lock(folder: Path) -> Any:
    """Return the lock of a spool, acquired; None if another process holds it."""
    from filelock import FileLock, Timeout

    file = FileLock(folder / "lock", thread_local=False)
    try:
        file.acquire(blocking=False)
    except Timeout:
        return None
    return file


def opened(folder: Path, held: Any) -> Spool:
    """Return the spool in `folder`, whose lock `held` is acquired. It is released if the spool cannot be opened."""
    beside = None
    with contextlib.suppress(OSError, ValueError):
        beside = folder.relative_to(Path.cwd())
    try:
        return Spool(folder, spool_header.read(folder), held, beside)
    except BaseException:
        held.release()
        raise


def is_ours(spool: Spool) -> bool:
    """Return whether a process of this user's has written the spool, and for this run."""
    return spool_header.is_own(spool.run_id, spool.header)
