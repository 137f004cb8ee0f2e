"""What is left over beside a local store, and its removal: deleted runs, files of no run, temporary files, old spools.

Only what is listed here is ever removed. Whatever may belong to somebody else stays: of the files of no run those that
another store beside this one knows, or that are not as this program leaves them.
"""

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError, first_line
from runner.settings.trust import secrets
from runner.tracking.store import artifact_places, mlflow_private, moved, reconcile, stores
from runner.tracking.write import spool, spool_check

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN, ORPHAN, TEMPORARY, SPOOL = "deleted run", "files of no run", "temporary file", "delivered spool"
#: Files of which a run of ours has one at least.
OURS = ("config.yaml", "environment.txt", "manifest.json", "data.json", "traceback.txt", "checkpoints")
_ID = re.compile(r"[0-9a-f]{32}")
#: `durable.beside` of a process, and the file by which `spool.try_out` tries a disk.
_PART = re.compile(r"\..+\.(\d+)\.part|\.tried-(\d+)-\d+")


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed."""

    kind: str  # RUN | ORPHAN | TEMPORARY | SPOOL
    name: str  # the id of a run, or the name of a file
    folders: tuple[Path, ...]  # what is removed of the disk
    bytes: int
    kept: str = ""  # why it stays all the same; "" for what can be removed


def leftovers(uri: str) -> list[Leftover]:
    """Return what is left over beside a local store, without changing anything.

    Raises ConfigError for a server, which has files that no program here can remove.
    """
    path = stores.sqlite_path(uri)
    if path is None:
        raise ConfigError(
            "tracking.uri",
            f"{secrets.masked_uri(uri)!r} is a server, whose files are out of reach; expected a local store, such as"
            " sqlite:///mlflow.db; on the server's own machine `mlflow gc` removes what is deleted",
        )
    if not path.exists():
        raise ConfigError("tracking.uri", f"there is no store {path}; nothing is left over, or name another")
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    folders = list(_run_folders(path))  # before the rows: a run that begins meanwhile has its row first
    with contextlib.closing(sqlite3.connect(path)) as store:
        rows = mlflow_private.run_rows(store)
    deleted = [
        _deleted(client, path, run_id, place) for run_id, (stage, _, place) in rows.items() if stage == "deleted"
    ]
    known = rows.keys() | _others(path)
    orphans = [
        Leftover(ORPHAN, folder.name, (folder,), _size(folder)) for folder in folders if _is_orphan(folder, known)
    ]
    ended = [folder for folder in folders if rows.get(folder.name, ("", "RUNNING"))[:2] in _ENDED]
    spools = spool.place(uri)
    parts = [part for folder in ended for part in _parts(folder)] + _parts(spools, "*")
    return [*deleted, *orphans, *parts, *_spools(spools)]


_ENDED = [("active", status) for status in ("FINISHED", "FAILED", "KILLED")]


def remove(uri: str, chosen: list[Leftover]) -> list[tuple[Leftover, str]]:
    """Remove for good what `leftovers` has found; what has changed since stays.

    Returns what could not be removed, each with the reason.
    """
    client, failed = stores.open_store(uri), []
    with reconcile.changing(client):
        for one in chosen:
            try:
                if not one.kept and _is_still(client, one):
                    _remove(client, uri, one)
            except Exception as error:  # of the disk or of the store
                failed.append((one, first_line(error)))
    return failed


def _is_still(client: "MlflowClient", one: Leftover) -> bool:
    """Return whether it may still be removed: a run may have been restored meanwhile."""
    from mlflow.exceptions import MlflowException

    if one.kind not in (RUN, ORPHAN):
        return True
    try:
        stage = client.get_run(one.name).info.lifecycle_stage
    except MlflowException as error:
        if not stores.is_missing(error):
            raise
        stage = None
    return bool(stage == ("deleted" if one.kind == RUN else None))


def _remove(client: "MlflowClient", uri: str, one: Leftover) -> None:
    if one.kind == SPOOL:
        _with_spool(one.folders[0], lambda taken: taken.remove())
        return
    if one.kind == RUN:  # first: a row without files would be a run that can be restored, and has lost them
        mlflow_private.delete_for_good(client, one.name)
    for folder in one.folders:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
        if one.kind == RUN and _is_empty(folder.parent):
            folder.parent.rmdir()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _deleted(client: "MlflowClient", path: Path, run_id: str, place: str) -> Leftover:
    """Return a deleted run with its artifacts and its logged models."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as store:
            models, registered = mlflow_private.models_of(store, run_id)
        if registered:
            return Leftover(RUN, run_id, (), 0, "a model of it is registered; delete that first")
        folders = [_own_folder(client, place, run_id), *(_own_folder(client, uri, name) for name, uri in models)]
    except ConfigError as error:
        return Leftover(RUN, run_id, (), 0, first_line(error))
    if (spool.place(str(client.tracking_uri)) / run_id).exists():
        return Leftover(RUN, run_id, (), 0, "a part of its record has yet to be delivered: runner sync")
    return Leftover(RUN, run_id, tuple(folders), sum(map(_size, folders)))


def _own_folder(client: "MlflowClient", place: str, owner: str) -> Path:
    """Return the artifact folder of a run or a model. Raises ConfigError unless it is its own, beside the store."""
    artifact_places.check(place, client.tracking_uri, owner, writes=True)
    folder = artifact_places.local_folder(place)
    if folder is None:
        raise ConfigError("", f"its files are elsewhere, in {secrets.masked_uri(place).partition(owner)[0]}")
    artifact_places.refuse_links(folder.parent.parent, [f"{owner}/artifacts"])
    return folder


def _run_folders(path: Path) -> Iterator[Path]:
    """Yield the folders beside a store that are named as those of runs are: mlruns/<experiment>/<id>."""
    root = path.parent / moved.FOLDER
    for experiment in sorted(root.iterdir()) if root.is_dir() else []:
        if experiment.is_dir() and not experiment.is_symlink():
            yield from (one for one in sorted(experiment.iterdir()) if _ID.fullmatch(one.name) and not one.is_symlink())


def _is_orphan(folder: Path, known: set[str]) -> bool:
    """Return whether no store knows a run's folder, and it is as this program leaves one: nothing but its artifacts."""
    if folder.name in known or [one.name for one in folder.iterdir()] != ["artifacts"]:
        return False
    artifacts = folder / "artifacts"
    names = [one.name for one in artifacts.iterdir()] if artifacts.is_dir() and not artifacts.is_symlink() else [""]
    return not names or any(name in OURS for name in names)


def _others(path: Path) -> set[str]:
    """Return the ids of the runs of all other stores in the folder, which have their artifacts in the same place.

    Raises ConfigError for a store that cannot be read now.
    """
    ids: set[str] = set()
    for file in path.parent.iterdir():
        if file == path or not file.is_file() or file.suffix not in ("", ".db", ".sqlite", ".sqlite3"):
            continue
        try:
            with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as store:
                ids |= mlflow_private.run_rows(store).keys()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB and "no such table" not in str(error):
                raise ConfigError("tracking.uri", f"{file} is beside the store and cannot be read: {error}") from error
    return ids


def _parts(folder: Path, pattern: str = "**/*") -> list[Leftover]:
    """Return the half-written files in a folder whose processes are gone."""
    found = []
    for file in folder.glob(pattern) if folder.is_dir() else ():
        match = _PART.fullmatch(file.name)
        if match and file.is_file() and not file.is_symlink() and _is_gone(int(match[1] or match[2])):
            found.append(Leftover(TEMPORARY, str(file), (file,), file.stat().st_size))
    return found


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OverflowError, OSError):
        return False
    return False


def _spools(place: Path) -> list[Leftover]:
    """Return the spools of which the store has everything, and whose processes are gone."""
    folders = sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else []
    return [Leftover(SPOOL, one.name, (one,), _size(one)) for one in folders if _with_spool(one, lambda taken: None)]


def _with_spool(folder: Path, act: Callable[[spool.Spool], object]) -> bool:
    """Call `act` with a delivered spool, locked. Returns whether it is one that nobody has open."""
    try:
        spool_check.check_kinds(folder)
        held = spool.lock(folder)
    except (ConfigError, OSError):
        return False
    if held is None:
        return False
    try:
        spool_check.check(folder)
        taken = spool.opened(folder, held)
        if not taken.header or not spool.is_ours(taken) or not taken.is_empty:
            return False
        act(taken)
        return True
    except (ConfigError, OSError, ValueError):
        return False
    finally:
        held.release()


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder; links count as nothing."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files)
