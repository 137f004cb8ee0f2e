"""Checks of a spool before anything in it is acted on: it may have come with a stranger's folder.

A spool names files within itself, or in a temporary folder of this user's own process, and places within its run. A
link, a damaged entry and any other place is refused, and then nothing is sent, written or deleted.
"""

import contextlib
import json
import os
import re
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any

from runner.settings import CHECKPOINTS
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading
from runner.tracking.write import spool_header

#: Bytes that one entry, and the header, may have.
ENTRY, HEADER = 64_000_000, 1_000_000
STATES = ("FINISHED", "FAILED", "KILLED")
#: The types of what an entry may hold; other keys are not read.
_KINDS: dict[str, Any] = {
    "points": list[Any],
    "params": dict[str, str],
    "tags": dict[str, str],
    "files": int,
    "from": str,
    "end": str,
    "reason": str,
    "at": int,
    "step": int,
    "keep": int,
    "move": bool,
    "name": str | None,
    "sha256": dict[str, str],
    "model": int,
    "refused": str,
}
#: A temporary folder that `tempfile.mkdtemp(prefix="runner-")` makes.
_TEMPORARY = re.compile(r"runner-[a-z0-9_]{8}")


def check(folder: Path) -> None:
    """Raise ConfigError for a spool that names what is not its own, or that cannot be read."""
    check_kinds(folder)
    places = [Path(tempfile.gettempdir())]
    if (folder / spool_header.NAME).exists():
        own = header(folder)
        if spool_header.is_own(folder.name, own) and "temporary" in own:  # TMPDIR may be another one by now
            places.append(Path(own["temporary"]))
    for log in folder.glob("*.jsonl"):
        _check_log(log, places)
    _check_delivered(folder / "delivered")
    if (folder / "files").is_dir():
        _check_tree(folder / "files")


def check_kinds(folder: Path) -> None:
    """Raise ConfigError for a spool that has links or pipes, FileNotFoundError where there is none any more."""
    record_reading.run_id(folder.name, "the name of a spool's folder")
    for part in (folder.parents[1], folder.parent, folder):
        _check_kind(part, folder=True)
    for path in sorted(folder.iterdir()):
        _check_kind(path, folder=path.name == "files" or path.is_dir())


def header(folder: Path) -> dict[str, Any]:
    """Return the header of a spool, checked. Raises ConfigError for a damaged one."""
    name = f"{spool_header.NAME} of {folder}"
    with (folder / spool_header.NAME).open("rb") as file:
        text = file.read(HEADER + 1)
    if len(text) > HEADER:
        raise ConfigError("", f"{name} has more than {HEADER:,} bytes; delete {folder}, or bring the file back")
    content: dict[str, Any] = record_reading.decoded(text.decode("utf-8", "replace"), dict[str, Any], name)
    record_reading.checked(content.get("uri"), str, f"uri in {name}")
    record_reading.checked(content.get("process"), dict[str, Any], f"process in {name}")
    record_reading.checked(content.get("temporary", ""), str, f"temporary in {name}")
    return content


def _check_log(log: Path, places: list[Path]) -> None:
    """Check every whole line; half a line at the end is of a process that was killed."""
    with log.open("rb") as file:
        number = 0
        while line := file.readline(ENTRY):
            number += 1
            name = f"line {number} of {log}"
            if not line.endswith(b"\n"):
                if len(line) == ENTRY:
                    raise ConfigError("", f"{name} has more than {ENTRY:,} bytes; the spool is damaged")
                return
            entry = record_reading.decoded(line.decode("utf-8", "replace"), dict[str, Any], name)
            _check_entry(entry, log.parent, name, places)


def _check_entry(entry: dict[str, Any], folder: Path, name: str, places: list[Path]) -> None:
    for key, hint in _KINDS.items():
        if key in entry:
            record_reading.checked(entry[key], hint, f"{key} in {name}")
    if entry.get("to") is not None:
        record_reading.place(entry["to"], f"the place in {name}")
    if "points" in entry:
        _check_points(entry["points"], name)
    if "end" in entry and (entry["end"] not in STATES or "reason" not in entry or "at" not in entry):
        raise ConfigError("", f"{name} ends the run as {record_reading.cut(str(entry['end']))!r}; the spool is damaged")
    if "files" in entry:
        _check_source(entry, folder, name, places)


def _check_points(points: list[Any], name: str) -> None:
    for point in points:
        valid = isinstance(point, list) and len(point) == 4 and isinstance(point[0], str)
        valid = valid and all(isinstance(n, int | float) and not isinstance(n, bool) for n in point[1:])
        if not valid or not all(type(n) is int and 0 <= n < 2**63 for n in point[2:]):
            raise ConfigError(
                "", f"{name} has {record_reading.cut(json.dumps(point))} for a point; the spool is damaged"
            )


def _check_source(entry: dict[str, Any], folder: Path, name: str, places: list[Path]) -> None:
    """Raise ConfigError for files outside of the spool that no process of this user's has made there."""
    needed = {"from", "to", "move", "tags"} | ({"name", "step", "keep"} if "sha256" in entry else set())
    if entry["files"] < 0 or not needed <= entry.keys() or entry.get("name") not in (None, *CHECKPOINTS, "model"):
        raise ConfigError("", f"{name} names no files; the spool is damaged")
    source = Path(entry["from"])
    if ".." not in source.parts and (not source.exists() or any(_is_ours(source, place) for place in places)):
        return
    if entry["move"] or not (folder / "files" / str(entry["files"])).is_dir():  # what is moved is removed there
        raise ConfigError(
            "",
            f"{name} names files outside of the spool, in {record_reading.cut(entry['from'], 200)!r}, which no run of"
            f" yours has made there; nothing is sent; {_remedy(source, places[0])}to give the run up, delete {folder}",
        )


def _remedy(source: Path, place: Path) -> str:
    """Return what to type for files of a run that had another temporary folder; "" if they cannot be of one."""
    for part in source.parents:
        if _TEMPORARY.fullmatch(part.name) and _is_ours(source, part.parent):
            command = f"TMPDIR={shlex.quote(str(part.parent))} runner sync"
            return f"they are expected in {place}; if your run had its temporary files there: {command}; "
    return ""


def _is_ours(path: Path, temporary: Path) -> bool:
    """Return whether a path is in a temporary folder that only this user's processes can have made, without links."""
    if not path.is_absolute() or ".." in path.parts or not path.is_relative_to(temporary):
        return False
    parts = path.relative_to(temporary).parts
    if not parts or _TEMPORARY.fullmatch(parts[0]) is None:
        return False
    try:
        state = (temporary / parts[0]).lstat()
        if hasattr(os, "getuid") and (state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o077):
            return False
        steps = [temporary.joinpath(*parts[: i + 1]) for i in range(len(parts))]
        for step in steps:
            _check_kind(step, folder=True)
        _check_tree(path)
    except (ConfigError, OSError):
        return False
    return True


def _check_tree(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # a process at work may move them meanwhile
        for path in folder.iterdir():
            is_folder = path.is_dir() and not path.is_symlink()
            _check_kind(path, is_folder)
            if is_folder:
                _check_tree(path)


def _check_kind(path: Path, folder: bool = False) -> None:
    """Raise ConfigError for a link, a pipe or a device, and for a file that has another name elsewhere."""
    with contextlib.suppress(FileNotFoundError):
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            raise ConfigError("", f"{path} is a symbolic link; a spool holds its own files; remove it")
        if folder and stat.S_ISDIR(state.st_mode):
            return
        if folder or not stat.S_ISREG(state.st_mode):
            raise ConfigError("", f"{path} is not {'a folder' if folder else 'a file'}; remove it")
        if state.st_nlink > 1:
            raise ConfigError("", f"{path} is a file with another name elsewhere; a spool holds its own; copy it")


def _check_delivered(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb") as file:
        text = file.read(100).decode("utf-8", "replace").strip()
    if text and re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise ConfigError(
            "", f"{path} holds {record_reading.cut(json.dumps(text))}, expected a whole number; delete it"
        )
