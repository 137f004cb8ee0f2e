"""A run's artifacts: put, fetched, compared and deleted, on a disk of this machine or in a store elsewhere."""

import contextlib
import hashlib
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError, Unreachable, first_line
from runner.settings.files import durable
from runner.settings.trust import record_reading
from runner.tracking.store import artifact_places, stores, transfer
from runner.tracking.store.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

#: Seconds until a store that does not hand a file over is asked again.
AGAIN = (1.0, 2.0)


def put(
    client: "MlflowClient",
    run_id: str,
    folder: Path,
    place: str | None,
    patience: Patience,
    lasting: bool = False,
) -> None:
    """Put the files of `folder` as artifacts in `place`. On a local disk each is whole, or as it was before.

    place: an artifact folder; None: the files go to the run's own folder, by their paths in `folder`.
    patience: how long a store elsewhere may take.
    lasting: they outlive a loss of power, as those of a place of their own do, which checkpoints have.
    Raises OSError for a full disk or a local store that was moved away, ConfigError for a place that the store may not
    name, and whatever a store's own library raises.
    """
    check_place(client, run_id)
    if place is not None:
        record_reading.place(place, "a place of artifacts")
    local = artifact_places.local(client, run_id)
    if local is None:
        repository = artifact_places.repository(client, run_id, writes=True)
        transfer.run(lambda: repository.log_artifacts(str(folder), place), patience)
        return
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    artifact_places.refuse_links(local, [f"{place}/{name}" if place else name for name in names])
    if place is not None:
        durable.publish(sorted(folder.iterdir()), local / place)
        return
    for parent, group in itertools.groupby(files, lambda path: path.parent):
        target = local / parent.relative_to(folder)
        if lasting:
            durable.publish(group, target)
            continue
        target.mkdir(parents=True, exist_ok=True)
        for path in group:
            durable.write(target / path.name, path.read_bytes(), lasting=False)


def check_place(client: "MlflowClient", run_id: str) -> None:
    """Raise ConfigError for a place of artifacts that no store may name, OSError for a local store that is gone."""
    artifact_places.demand(client)
    artifact_places.check(artifact_places.place(client, run_id), client.tracking_uri, run_id, writes=True)


def fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path | None:
    """Return a copy in `folder` of the artifact or artifact folder `name`; None if the store has none.

    Of a local store it may be the file itself, which must not be written.
    Raises Unreachable if a store elsewhere does not hand it over in three tries, ConfigError if it refuses to, or if a
    package for it is missing.
    """
    record_reading.place(name, "the name of an artifact")
    local = artifact_places.local(client, run_id)
    if local is not None:
        return local / name if (local / name).exists() else None
    for wait in (*AGAIN, None):
        try:
            return _fetch(client, run_id, name, folder)
        except ConfigError:  # a place that is refused
            raise
        except ImportError as error:
            raise artifact_places.missing_package(artifact_places.place(client, run_id), error) from error
        except Exception as error:  # of any kind: each store's library has its own
            durable.demand(Path(folder), 0)  # MLflow takes a full disk for a wrong path
            if stores.is_refusal(error):
                message = record_reading.cut(first_line(error), 200)
                raise ConfigError("", f"{name} of run {run_id} cannot be read from its store: {message}") from error
            if wait is None:
                raise Unreachable(f"{name} of run {run_id} cannot be fetched: {stores.why(error)}") from error
        time.sleep(wait)
    raise AssertionError


def _fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path | None:
    parent, _, last = name.rpartition("/")
    repository = artifact_places.repository(client, run_id)
    files = [file for file in repository.list_artifacts(parent or None) if Path(file.path).name == last]
    if not files:
        return None
    if files[0].is_dir:
        files = repository.list_artifacts(name)
    with transfer.expecting(max((file.file_size or 0 for file in files), default=0)):
        return Path(repository.download_artifacts(name, folder))


def listed(client: "MlflowClient", run_id: str, most: int = 10_000) -> list[tuple[str, int]]:
    """Return the path and the bytes of each of the run's artifacts, in order, at most `most`.

    Raises ConfigError for a place that the store may not name, Unreachable if it does not answer.
    """
    local = artifact_places.local(client, run_id)
    if local is not None:
        paths = itertools.islice((path for path in local.rglob("*") if path.is_file()), most)
        return sorted((path.relative_to(local).as_posix(), path.stat().st_size) for path in paths)
    try:
        return sorted(itertools.islice(_below(artifact_places.repository(client, run_id), None), most))
    except ConfigError:
        raise
    except Exception as error:  # of any kind: each store's library has its own
        raise Unreachable(f"the files of run {run_id} cannot be listed: {stores.why(error)}") from error


def _below(repository: "ArtifactRepository", place: str | None) -> Iterator[tuple[str, int]]:
    for file in repository.list_artifacts(place):
        if file.is_dir:
            yield from _below(repository, file.path)
        else:
            yield record_reading.line(file.path), int(file.file_size or 0)


def holds(client: "MlflowClient", run_id: str, place: str, sizes: Mapping[str, int | None], patience: Patience) -> bool:
    """Return whether the artifacts in `place` have files of these names and sizes; None stands for any size."""
    record_reading.place(place, "a place of artifacts")
    local = artifact_places.local(client, run_id)
    if local is not None:
        present = {path.name: path.stat().st_size for path in (local / place).glob("*")}
    else:
        files = transfer.run(lambda: artifact_places.repository(client, run_id).list_artifacts(place), patience)
        present = {Path(file.path).name: file.file_size for file in files}
    return all(
        name in present and (None in (size, present[name]) or size == present[name]) for name, size in sizes.items()
    )


def is_whole(client: "MlflowClient", run_id: str, place: str, digests: Mapping[str, str]) -> bool:
    """Return whether a folder of artifacts on this machine holds files with these SHA-256, by their names."""
    local = artifact_places.local(client, run_id)
    if local is None:
        return False
    record_reading.place(place, "a place of artifacts")
    with contextlib.suppress(OSError):
        return all(hashlib.sha256((local / place / name).read_bytes()).hexdigest() == d for name, d in digests.items())
    return False


def delete(client: "MlflowClient", run_id: str, place: str, patience: Patience) -> None:
    """Delete the artifacts in `place`. What a store elsewhere cannot or may not delete stays."""
    artifact_places.demand(client)
    record_reading.place(place, "a place of artifacts")
    repository, local = artifact_places.repository(client, run_id, writes=True), artifact_places.local(client, run_id)
    if local is None:
        transfer.run(lambda: _delete_each(repository, place), patience)
        return
    artifact_places.refuse_links(local, [place])
    if (local / place).is_dir():  # MLflow takes `%20` of a folder's name for a space here
        shutil.rmtree(local / place)
    else:
        (local / place).unlink(missing_ok=True)


def _delete_each(repository: "ArtifactRepository", place: str) -> None:
    """Delete file by file: older MLflows delete whatever begins with the name, and best-10 begins with best-1."""
    files = repository.list_artifacts(place)
    for file in [file for file in files if file.is_dir]:
        _delete_each(repository, file.path)
    for path in [file.path for file in files if not file.is_dir] or [place]:
        with contextlib.suppress(Exception):
            repository.delete_artifacts(path)
