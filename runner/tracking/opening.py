"""Many new runs of a local store, opened at once: one transaction for each part of it, and one wait for the disk."""

import contextlib
import errno
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError
from runner.settings.files import durable, moves
from runner.settings.trust import secrets
from runner.tracking import recording
from runner.tracking.store import artifact_places, first_files, liveness, mlflow_private, reconcile, stores
from runner.tracking.write import background, new_runs, together
from runner.tracking.write import spool as spools
from runner.tracking.write.group import Group
from runner.tracking.write.new_runs import NewRun
from runner.tracking.write.spool import Spool
from runner.tracking.write.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Runs that are opened at once: a transaction of more holds others up.
MOST = 256
#: Folder in a spool for the first files.
FIRST = "first.part"
#: Files that a process has open beside the locks of its runs.
SPARE = 500
#: And those without which it cannot begin.
LEAST = 64


@dataclass
class Opening:
    """The first content of the record of a new run; see `recording`."""

    run_name: str
    tags: dict[str, str]
    params: dict[str, str]
    files: Mapping[str, str | bytes]
    keep: int = 2


def opened(uri: str, experiment: str, runs: Sequence[Opening], group: Group) -> list[Tracker] | None:
    """Create runs and return their trackers, in order, each for a block of `recording.ending`.

    None, and nothing is left, where each has to be opened by itself: in a store that is no SQLite file of this MLflow.
    group: whose thread delivers their records.
    Raises what `recording` raises; then none of the runs has begun.
    """
    from mlflow.exceptions import MlflowException

    client = stores.open_store(uri)
    if mlflow_private.tables(client) is None:
        return None
    _allow_files(len(runs))
    try:
        home, own = recording.home_of_runs(client, uri, experiment), reconcile.tags()
        created = new_runs.create(client, home, [(secrets.masked(run.run_name), run.tags | own) for run in runs])
    except (MlflowException, OSError) as error:
        raise recording.no_run(uri, error) from error
    if created is None:
        return None
    taken: list[Spool] = []
    try:
        _take(client, uri, created, taken)
        with ThreadPoolExecutor(1, "headers") as pool:  # the disk takes them while the first files are written
            synced = pool.submit(spools.sync, taken)
            trackers = [Tracker(client, spool, False, run.keep, group) for spool, run in zip(taken, runs, strict=True)]
            are_put = _put(client, trackers, runs)
        try:
            synced.result()
        except OSError as error:
            raise recording.no_spool(uri, error) from error
    except BaseException:
        _undo(client, created, taken)
        raise
    return _begun(trackers, runs, are_put)


def _allow_files(count: int) -> None:
    """Raise this process's limit for open files: each run that is open has a file, its lock.

    Raises ConfigError where it may not be raised as far as that.
    """
    try:
        import resource
    except ImportError:  # there is none on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = background.crowd() + count + SPARE
    if resource.RLIM_INFINITY != hard < needed - SPARE + LEAST:
        raise _too_many_files(count, hard - LEAST - background.crowd())
    if resource.RLIM_INFINITY != soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _too_many_files(count: int, room: int) -> ConfigError:
    """Return the error for more records than this process may open files. room: for so many of them it may."""
    return ConfigError(
        "hydra.launcher.models",
        f"{count:,} records are to be open at once, each with a file, and this process may open no more files than for"
        f" {max(room, 0):,} of them; set hydra.launcher.models={max(room, 1)}, or raise the limit before, where the"
        f" system allows it: ulimit -n {background.crowd() + count + SPARE}",
    )


def _take(client: "MlflowClient", uri: str, created: list[NewRun], taken: list[Spool]) -> None:
    """Make the spools of the runs, which are added to `taken`."""
    process = liveness.process()
    try:
        homes = artifact_places.Homes()
        for run in created:
            homes.remember(client, run.run_id, run.artifact_uri)
            taken.append(spools.create(uri, run.run_id, process, lasting=False))
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise _too_many_files(len(created), len(taken) - LEAST) from error
        raise recording.no_spool(uri, error) from error


def _put(client: "MlflowClient", trackers: list[Tracker], runs: Sequence[Opening]) -> list[bool]:
    """Put the first files of the runs. Returns for each whether the store has taken them now."""
    folders: list[tuple[Path, Path]] = []
    for tracker in trackers:
        local = artifact_places.local(client, tracker.run_id)
        assert local is not None, "the store is a local one"
        folders.append((tracker.folder / FIRST, local))
    try:
        for (folder, _), run in zip(folders, runs, strict=True):
            _write(folder, run.files)
        moved = {place for _, place in moves.move_all(folders)}
        left = [(folder, place) for folder, place in folders if place not in moved]
        durable.publish_all([(file, place / file.relative_to(f)) for f, place in left for file in moves.files(f)])
    except OSError:  # each by itself, which says what is wrong
        return [
            recording.put_first(tracker, run.files, lambda: None) for tracker, run in zip(trackers, runs, strict=True)
        ]
    first_files.take_for_granted(client.get_run(trackers[0].run_id))
    return [True] * len(trackers)


def _write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write the first files of a run, which are on their way into the store."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        if "/" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_new(path, content if isinstance(content, bytes) else content.encode())


def _begun(trackers: list[Tracker], runs: Sequence[Opening], are_put: list[bool]) -> list[Tracker]:
    """Deliver the params of the runs, and start their records. An error ends those that have begun, as FAILED."""
    try:
        if all(are_put):
            deliveries = [tracker.prepare(run.params) for tracker, run in zip(trackers, runs, strict=True)]
            stored = set(together.deliver(deliveries))
            for tracker, delivery in zip(trackers, deliveries, strict=True):
                tracker.start(delivery in stored)
        else:
            for tracker, run, is_put in zip(trackers, runs, are_put, strict=True):
                tracker.begin(run.params, {} if is_put else run.files)
    except BaseException as error:
        for tracker in trackers:
            with contextlib.suppress(BaseException), recording.ending(tracker):
                raise error
        raise
    return trackers


def _undo(client: "MlflowClient", created: list[NewRun], taken: list[Spool]) -> None:
    """Leave no trace of runs that could not begin."""
    for spool in taken:
        spool.remove()
    for run in created:
        with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
            client.delete_run(run.run_id)
