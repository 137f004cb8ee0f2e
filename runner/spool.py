"""What a run has yet to tell its tracking store: an append-only file that outlives the process."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import marks, secrets

#: One thing to deliver: {"points": [[key, value, milliseconds, step], ...]}, {"params": {}}, {"end": status, ...} or
#: {"files": id, "from": folder, "to": artifact folder, "tags": {}}; the tags are written after the files.
Entry = dict[str, Any]

#: Beyond so many bytes a file of which everything was delivered is begun anew.
LARGE = 16_000_000


class Undelivered(Exception):
    """The record is complete on this disk; the store has yet to hear of it. `status` is how the run ended."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def place(uri: str) -> Path:
    """The folder of spools: beside a local store, or else in the working directory."""
    beside = Path(uri.removeprefix("sqlite:///")).absolute().parent if uri.startswith("sqlite:///") else Path.cwd()
    return beside / ".runner" / "spool"


def found(uri: str) -> list[Path]:
    """The spools that `runner sync` can see: those of the working directory, and those beside the store."""
    return sorted({folder for here in (place(""), place(uri)) for folder in here.glob("*/") if folder.is_dir()})


@dataclass
class Spool:
    """One run's folder. Whoever holds it is alone with it: it is locked until `release` or the process's end."""

    folder: Path
    header: dict[str, Any] = field(default_factory=dict)  # uri, process
    lock: Any = None
    size: int = 0

    @property
    def run_id(self) -> str:
        return self.folder.name

    def append(self, entries: list[Entry]) -> None:
        """All of them in one write. Not fsynced: a process that dies loses none, a machine that does may."""
        if not entries:
            return
        try:
            with self._log.open("ab", buffering=0) as log:
                log.truncate(self.size)  # half a line, of a process that was killed or a disk that was full
                text = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
                while text:
                    text = text[log.write(text) :]
                self.size = log.tell()
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}; what the store is to be told is not kept", self._log
            ) from None

    def entries(self, start: int) -> Iterator[tuple[Entry, int]]:
        """Entries from that place on, each with the place where the next begins."""
        with contextlib.suppress(FileNotFoundError), self._log.open("rb") as log:
            log.seek(start)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                yield json.loads(line), start

    @property
    def delivered(self) -> int:
        """How far the store is known to have everything. It may have more, if a process died just then."""
        try:
            return int((self.folder / "delivered").read_text() or 0)
        except FileNotFoundError:
            return 0

    def mark(self, delivered: int) -> int:
        """Note how far the store has everything; returns where that now is in the file."""
        over = delivered == self.size > LARGE
        _replace(self.folder / "delivered", "0" if over else str(delivered))
        if over:
            os.truncate(self._log, 0)
            self.size = 0
        return 0 if over else delivered

    def keep(self, entry: Entry, move: bool) -> None:
        """Take the files of an entry in."""
        target = self._files(entry)
        if target.exists():
            return
        temporary = target.with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(entry["from"], temporary)
        temporary.rename(target)
        if move:
            shutil.rmtree(entry["from"], ignore_errors=True)

    def drop(self, entry: Entry) -> None:
        """Let the files of an entry go; an empty folder says that they were not lost."""
        shutil.rmtree(self._files(entry), ignore_errors=True)
        self._files(entry).mkdir(parents=True)

    def forget(self, entry: Entry) -> None:
        """Its files were delivered."""
        shutil.rmtree(self._files(entry), ignore_errors=True)

    def files(self, entry: Entry) -> Path | None:
        """Where the files of an entry are; None if newer ones take their place. Raises FileNotFoundError if lost."""
        kept = self._files(entry)
        if kept.exists():
            return kept if any(kept.iterdir()) else None
        if not Path(entry["from"]).is_dir():
            raise FileNotFoundError(f"the files for {entry['to'] or 'the run'} are gone: {entry['from']}")
        return Path(entry["from"])

    def release(self) -> None:
        self.lock.release()

    def remove(self) -> None:
        """Everything was delivered."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"

    def _files(self, entry: Entry) -> Path:
        return self.folder / "files" / str(entry["files"])


def create(uri: str, run_id: str, process: dict[str, Any]) -> Spool:
    """The spool of a run that begins."""
    spool = take(place(uri) / run_id)
    assert spool is not None, "nobody else knows this run yet"
    # A local store is named by its file alone, so that the folder with both of them can be moved. A password is not
    # written down; `runner sync` takes it from where it was taken from now.
    shown = f"sqlite:///{Path(uri).name}" if uri.startswith("sqlite:///") else secrets.masked_uri(uri)
    spool.header = {"uri": shown, "process": process, "mark": marks.mark(run_id, shown, process)}
    _replace(spool.folder / "header.json", json.dumps(spool.header))
    return spool


def take(folder: Path) -> Spool | None:
    """Open a spool and lock it; None if a process is at it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    spool = Spool(folder, lock=lock)
    with contextlib.suppress(FileNotFoundError):
        spool.header = json.loads((folder / "header.json").read_text())
    spool.size = max((end for _, end in spool.entries(0)), default=0)
    return spool


def is_ours(spool: Spool) -> bool:
    """Whether a process of this user's has written the header, and for this run."""
    told = spool.header
    return marks.is_ours(told.get("mark"), spool.run_id, told.get("uri"), told.get("process"))


def sync(spool: Spool) -> str:
    """The command that delivers it."""
    uri = str(spool.header["uri"])
    known = uri.startswith("sqlite:///") or (is_ours(spool) and secrets.MASK not in uri)
    return "runner sync" if known else f"runner sync tracking.uri={uri}"


def store_of(spool: Spool) -> str:
    """The URI of the store that a spool is for."""
    uri = str(spool.header["uri"])
    return f"sqlite:///{spool.folder.parents[2] / Path(uri).name}" if uri.startswith("sqlite:///") else uri


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)
