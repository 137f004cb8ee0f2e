"""What a run has yet to tell its tracking store: an append-only file that outlives the process."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.settings.files import uris
from runner.settings.trust import secrets
from runner.tracking.write import marks
from runner.tracking.write.journal import Entry as Entry
from runner.tracking.write.journal import Journal, replace

# An entry is one thing to deliver: {"points": [[key, value, milliseconds, step], ...]}, {"params": {}},
# {"end": status, ...} or {"files": id, "from": folder, "to": artifact folder, "tags": {}}; tags come after the files.
# Of a checkpoint, {"files": ..., "name": "last", "step": 12, "sha256": {}, "keep": 2}: which tags name it and which
# older ones go follows from what the store has then. With "model": step, the files are an MLflow model.
# What was refused has "refused": why.

#: The file in a spool's folder that says whose it is.
HEADER = "header.json"
#: Beyond so many bytes a file of which everything was delivered is begun anew.
LARGE = 16_000_000
#: Seconds in which a `runner sync` that has found a run's new spool leaves it again.
MOMENT = 10.0


class Undelivered(Exception):
    """The store does not have all of the record. The message tells where the rest is; `status` is how the run ended."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def place(uri: str) -> Path:
    """The folder of spools: beside a local store, or else in the working directory."""
    path = uris.sqlite_path(uri)
    return (Path.cwd() if path is None else path.parent) / ".runner" / "spool"


def try_out(uri: str) -> None:
    """Raise OSError where no spool can be written, before there is a run that needs one."""
    here = place(uri)
    here.mkdir(parents=True, exist_ok=True)
    tried = here / f".tried-{os.getpid()}-{threading.get_ident()}"
    try:
        tried.write_bytes(b"\0" * 4096)
    finally:
        tried.unlink(missing_ok=True)


def found(uri: str) -> list[Path]:
    """The spools that `runner sync` can see: those of the working directory, and those beside the store."""
    return sorted({folder for here in (place(""), place(uri)) for folder in here.glob("*/") if folder.is_dir()})


@dataclass
class Spool:
    """One run's folder. Whoever holds it is alone with it: it is locked until `release` or the process's end."""

    folder: Path
    header: dict[str, Any] = field(default_factory=dict)  # uri, process
    lock: Any = None
    beside: Path | None = None  # the folder as seen from the working directory, if it is within it
    _named: dict[Any, list[int]] | None = None  # see _steps
    _mark: int | None = None  # how far everything is delivered, where the disk did not take it

    def __post_init__(self) -> None:
        self.log = Journal(self.folder / "log.jsonl")
        self.refused = Journal(self.folder / "refused.jsonl")  # what the store did not take, and will not

    @property
    def run_id(self) -> str:
        return self.folder.name

    def follow(self) -> None:
        """Find the folder again where the working directory was moved together with it."""
        with contextlib.suppress(OSError):
            there = Path.cwd() / self.beside if self.beside is not None else self.folder
            if not (self.folder / HEADER).exists() and (there / HEADER).exists():
                self.folder = there
                for journal in (self.log, self.refused):
                    journal.path = there / journal.path.name

    def append(self, entries: list[Entry]) -> None:
        """Add to what the store is to be told."""
        for entry in entries:
            if "name" in entry and self._named is not None:
                insort(self._named.setdefault(entry["name"], []), entry.get("step", 0))
        self.log.append(entries)

    def entries(self, start: int) -> Iterator[tuple[Entry, int]]:
        """Entries from that place on, each with the place where the next begins."""
        return self.log.entries(start)

    @property
    def delivered(self) -> int:
        """How far the store is known to have everything. It may have more, if a process died just then."""
        if self._mark is not None:
            return self._mark
        self.follow()
        try:
            return int((self.folder / "delivered").read_text() or 0)
        except FileNotFoundError:
            return 0

    def mark(self, delivered: int) -> int:
        """Note how far the store has everything; returns where that now is in the file."""
        everything = delivered == self.log.size
        if everything:
            self.log.unwritten.clear()
        if everything and delivered and (delivered > LARGE or self.log.error is not None):
            (self.folder / "delivered").unlink(missing_ok=True)  # first: nothing may be taken for delivered
            self.log.clear()
            self._mark = self._named = None
            return 0
        try:
            replace(self.folder / "delivered", str(delivered))
            self._mark = None
        except OSError:  # a full disk: whoever goes on from the former mark asks the store what it has
            self._mark = delivered
        return delivered

    def move_in(self, entry: Entry) -> bool:
        """Take the files of an entry in, where that needs no copy."""
        target = self.inside(entry)
        try:
            target.parent.mkdir(exist_ok=True)
            Path(entry["from"]).rename(target)
        except OSError:  # another file system, or a full one
            return False
        return True

    def take_in(self, entry: Entry) -> None:
        """Take the files of an entry in. Raises OSError if this disk does not take them; they stay where they are."""
        if self.holds(entry) or (entry["move"] and self.move_in(entry)):
            return
        target = self.inside(entry)
        target.parent.mkdir(exist_ok=True)  # and no folder above it, which may have been moved away
        temporary = target.with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _copy(Path(entry["from"]), temporary)
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if entry["move"]:
            shutil.rmtree(entry["from"], ignore_errors=True)

    def holds(self, entry: Entry) -> bool:
        """Whether the files of an entry are in the spool."""
        return self.inside(entry).is_dir()

    def forget(self, entry: Entry) -> None:
        """Its files were delivered, or newer ones are here."""
        shutil.rmtree(self.inside(entry), ignore_errors=True)
        if entry["move"]:
            shutil.rmtree(entry["from"], ignore_errors=True)

    def files(self, entry: Entry) -> Path | None:
        """Where the files of an entry are; None if newer ones take their place. Raises FileNotFoundError if lost."""
        for place in (self.inside(entry), Path(entry["from"])):
            if place.is_dir():
                return place if any(place.iterdir()) else None
        if self.is_superseded(entry):
            return None
        raise FileNotFoundError(f"the files for {entry['to'] or 'the run'} are gone: {entry['from']}")

    def is_superseded(self, entry: Entry) -> bool:
        """Whether as many newer ones of this name as the run keeps are to be delivered, too."""
        steps = self._steps().get(entry.get("name"), [])
        newer = len(steps) - bisect_left(steps, entry.get("step", 0)) - 1  # without itself
        return "name" in entry and newer >= int(entry.get("keep", 1))

    def _steps(self) -> dict[Any, list[int]]:
        """The steps of the checkpoints that are to be delivered, by name, sorted; read once: there may be many."""
        if self._named is None:
            entries = (entry for entry, _ in (*self.refused.entries(), *self.log.entries()) if "name" in entry)
            numbered = {entry["files"]: entry for entry in entries}
            self._named = {}
            for entry in numbered.values():
                insort(self._named.setdefault(entry["name"], []), entry.get("step", 0))
        return self._named

    @property
    def is_empty(self) -> bool:
        """Whether the store has everything."""
        return not self.log.unwritten and self.delivered == self.log.size and not self.refuses

    @property
    def refuses(self) -> bool:
        """Whether the store has refused something."""
        return bool(self.refused.size or self.refused.unwritten)

    def missing(self) -> list[str]:
        """List, in words, what is not delivered and cannot be read back from this disk; [] if nothing."""
        try:
            words = self._unreadable()
        except (OSError, ValueError):  # the folder was deleted under the run, or damaged
            words = []
        if not words and not (self.log.is_whole and self.refused.is_whole and _header(self.folder) == self.header):
            words.append(f"what {self.folder} should hold")
        return list(dict.fromkeys(words))

    def _unreadable(self) -> list[str]:
        points = sum(len(entry.get("points", ())) for entry in (*self.log.unwritten, *self.refused.unwritten))
        words = [f"{points} points"] if points else []
        words += ["how the run ended"] if any("end" in entry for entry in self.log.unwritten) else []
        return words + [entry["to"] or "files of the run" for entry in self.outside()]

    def outside(self) -> list[Entry]:
        """Entries that the store has yet to be told, whose files are not in the spool, nor newer ones."""
        entries = [entry for entry, _ in self.undelivered() if "files" in entry]
        return [entry for entry in entries if not self.holds(entry) and not self.is_superseded(entry)]

    def undelivered(self) -> Iterator[tuple[Entry, int]]:
        """Iterate over the entries that were refused, then over those not delivered yet."""
        yield from self.refused.entries()
        yield from self.log.entries(self.delivered)

    def release(self) -> None:
        self.lock.release()

    def remove(self) -> None:
        """Remove the folder, whose entries have all been delivered. What a disk does not let go of stays.

        The lock goes last: before that nobody else can have the folder, and whoever is killed meanwhile leaves a spool
        that can be removed by the next `runner sync`.
        """
        parts = [path.name for path in self.folder.glob("*.part")]  # of a process that was killed as it wrote them
        shutil.rmtree(self.folder / "files", ignore_errors=True)
        for name in (self.log.path.name, self.refused.path.name, *parts, "delivered", HEADER, "lock"):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        self._remove_folder()
        self.release()
        self._remove_folder()  # NFS keeps a file that is open

    def _remove_folder(self) -> None:
        with contextlib.suppress(OSError):  # of another process by now, or with a file that is not ours
            self.folder.rmdir()

    def inside(self, entry: Entry) -> Path:
        """Where the spool holds the files of an entry."""
        return self.folder / "files" / str(entry["files"])


def create(uri: str, run_id: str, process: dict[str, Any]) -> Spool:
    """The spool of a run that begins."""
    spool = _taken(place(uri) / run_id)
    # A local store is named by its file alone, so that the folder with both of them can be moved. A password is not
    # written down; `runner sync` takes it from where it was taken from now.
    path = uris.sqlite_path(uri)
    shown = secrets.masked_uri(uri) if path is None else f"sqlite:///{path.name}"
    spool.header = {"uri": shown, "process": process, "temporary": tempfile.gettempdir()}
    spool.header["mark"] = marks.mark(*_marked(run_id, spool.header))
    replace(spool.folder / HEADER, json.dumps(spool.header), lasting=True)  # without it nobody can use the rest
    return spool


def _taken(folder: Path) -> Spool:
    """The spool of a run that is this process's. A `runner sync` that has come upon it leaves it in a moment."""
    until = time.monotonic() + MOMENT
    while (spool := take(folder)) is None:
        if time.monotonic() > until:
            raise OSError(errno.EBUSY, "another process is at it", str(folder))
        time.sleep(0.02)
    return spool


def take(folder: Path) -> Spool | None:
    """Open a spool and lock it; None if a process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder)
    return None if held is None else opened(folder, held)


def lock(folder: Path) -> Any:
    """The lock of a spool, held; None if another process holds it."""
    from filelock import FileLock, Timeout

    found = FileLock(folder / "lock", thread_local=False)
    try:
        found.acquire(blocking=False)
    except Timeout:
        return None
    return found


def opened(folder: Path, held: Any) -> Spool:
    """The spool whose lock is held; it is released if the spool cannot be opened."""
    try:
        return Spool(folder, _header(folder), held, _from_here(folder))
    except BaseException:
        held.release()
        raise


def _from_here(folder: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError):
        return folder.relative_to(Path.cwd())
    return None


def is_ours(spool: Spool) -> bool:
    """Whether a process of this user's has written the header, and for this run."""
    return is_own(spool.run_id, spool.header)


def is_own(run_id: str, header: dict[str, Any]) -> bool:
    """The same of a header that was read by itself."""
    return marks.is_ours(header.get("mark"), *_marked(run_id, header))


def _marked(run_id: str, header: dict[str, Any]) -> list[Any]:
    """What the mark is of. Former versions have no temporary folder in it."""
    return [
        run_id,
        *(header.get(key) for key in ("uri", "process", "temporary") if key != "temporary" or key in header),
    ]


def sync(spool: Spool) -> str:
    """The command that delivers it."""
    uri = str(spool.header["uri"])
    known = uri.startswith("sqlite:///") or (is_ours(spool) and secrets.MASK not in uri)
    from runner.settings.trust.typed_words import pasted

    return "runner sync" if known else f"runner sync {pasted('tracking.uri', uri)}"


def store_of(spool: Spool) -> str:
    """The URI of the store that a spool is for."""
    uri = str(spool.header["uri"])
    return f"sqlite:///{spool.folder.parents[2] / Path(uri).name}" if uri.startswith("sqlite:///") else uri


def _header(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads((folder / HEADER).read_text()))
    return {}


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, place)
