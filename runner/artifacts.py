"""Where artifacts are: what a store answers is checked before anything is read or written there.

A server says where a run's artifacts go. One that says `file:///home/me` would have checkpoints written over what is
there, and one that names another host would have them, and the credentials for itself, sent to it.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from runner import record_reading
from runner.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "tracking.uri"
#: Runs whose places are remembered: many are open at once where models are trained together.
REMEMBERED = 1000
#: (tracking URI, run id) -> where its artifacts are, of the newest runs of this process: asking a store takes its time.
_uris: dict[tuple[str, str], str] = {}
#: Schemes that name a host, which has to be the tracking server's: MLflow sends its credentials along.
_HOSTS = ("http", "https", "ftp", "sftp", "mlflow-artifacts")
#: Schemes that stand for other artifacts, whose place would be looked up only later.
_INDIRECT = ("runs", "models")


def know(client: "MlflowClient", run_id: str, uri: str) -> None:
    """Remember where a run's artifacts are. Raises ConfigError for a place that no store may name."""
    record_reading.run_id(run_id)
    check(uri, client.tracking_uri, run_id)
    if len(_uris) >= REMEMBERED:
        _uris.clear()
    _uris[client.tracking_uri, run_id] = uri


def repository(client: "MlflowClient", run_id: str, writes: bool = False) -> Any:
    """MLflow's repository of a run's artifacts. Raises ConfigError where they may not be read, or written."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = _uri(client, run_id)
    if writes:
        check(uri, client.tracking_uri, run_id, writes=True)
    return get_artifact_repository(uri, client.tracking_uri)


def local(client: "MlflowClient", run_id: str) -> Path | None:
    """The run's artifact folder on a disk of this machine; None if they are elsewhere."""
    uri = _uri(client, run_id)
    return _path(uri) if _is_local(uri) else None


def fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path:
    """A local copy of the artifact `name` in `folder`; of artifacts on this machine the file itself."""
    from mlflow.exceptions import MlflowException

    record_reading.place(name, "the name of an artifact")
    here = local(client, run_id)
    try:
        return here / name if here is not None else Path(repository(client, run_id).download_artifacts(name, folder))
    except MlflowException as error:
        raise _unread(run_id, name, error) from error


def has(client: "MlflowClient", run_id: str, name: str) -> bool:
    """Whether the run has an artifact of this name."""
    from mlflow.exceptions import MlflowException

    parent = str(PurePosixPath(name).parent)
    try:
        there = repository(client, run_id).list_artifacts(None if parent == "." else parent)
    except MlflowException as error:
        raise _unread(run_id, name, error) from error
    return any(PurePosixPath(found.path).name == PurePosixPath(name).name for found in there)


def put_model(client: "MlflowClient", model: Any, folder: Path) -> None:
    """The files of `folder` as those of a logged model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    record_reading.run_id(model.model_id, "the id of a logged model")
    check(model.artifact_location, client.tracking_uri, model.model_id, writes=True)
    get_artifact_repository(model.artifact_location, client.tracking_uri).log_artifacts(str(folder))


def check(uri: str, store: str, owner: str = "", writes: bool = False) -> None:
    """Raise ConfigError for a place of artifacts that the store at URI `store` may not name.

    owner: the id of the run or logged model, in whose own folder they are; "" for the place of an experiment.
    """
    scheme, told = _scheme(str(uri)), f"its store says that artifacts are in {record_reading.cut(str(uri), 200)!r}"
    if not uri or uri != uri.strip() or not uri.isprintable():
        raise ConfigError(KEY, f"{told}, which is no place")
    if _is_local(uri):
        _check_folder(uri, store, owner, writes)
    elif scheme in _HOSTS:
        if not _is_host_of(uri, store):
            raise ConfigError(
                KEY,
                f"{told}, on another host than itself; nothing is sent there; if it is yours, allow it in your"
                " environment: RUNNER_PLACES=http://HOST:PORT",
            )
    elif scheme == "dbfs" and not store.startswith("databricks"):
        raise ConfigError(KEY, f"{told}, which may be a folder of this machine; only Databricks may name it")
    elif scheme in _INDIRECT or scheme not in _schemes():
        raise ConfigError(KEY, f"{told}, which is no place of artifacts; expected s3:// or mlflow-artifacts:/")


def refuse_links(root: Path, names: list[PurePosixPath]) -> None:
    """Raise ConfigError if files of these names in a folder would be written somewhere else, by a symbolic link."""
    real = root.resolve()
    for name in names:
        if root.joinpath(name).is_symlink() or root.joinpath(name.parent).resolve() != real / name.parent:
            raise ConfigError(KEY, f"{root / name} is in a symbolic link, and would be written elsewhere; remove it")


def _unread(run_id: str, name: str, error: Exception) -> ConfigError:
    why = record_reading.cut(str(error).strip().split("\n")[0], 200)
    return ConfigError("", f"{name} of run {run_id} cannot be read from its store: {why}")


def _uri(client: "MlflowClient", run_id: str) -> str:
    if (client.tracking_uri, run_id) not in _uris:
        know(client, run_id, client.get_run(run_id).info.artifact_uri)
    return _uris[client.tracking_uri, run_id]


def _check_folder(uri: str, store: str, owner: str, writes: bool) -> None:
    """A folder of this machine: of a store on this machine, of this run alone, and beside the store to be written."""
    told = f"its store says that artifacts are in {record_reading.cut(uri, 200)!r}"
    path = _path(uri)
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise ConfigError(KEY, f"{told}, which no file system has") from None
    if owner and real.parts[-2:] != (owner, "artifacts"):
        raise ConfigError(KEY, f"{told}, no folder of its own; expected one that ends in {owner}/artifacts")
    beside, place = _file(store), path.parents[1] if owner else path
    folders = [*_named(), *([Path.cwd()] if "://" in store and _scheme(store) not in ("http", "https") else [])]
    if beside is None:
        if not any(real.is_relative_to(folder.resolve()) for folder in folders):
            raise ConfigError(
                KEY,
                f"{told}, a folder of this machine, which a store elsewhere may not name; start the server with"
                f" --serve-artifacts, or allow it in your environment: RUNNER_PLACES={place}",
            )
    elif writes and not any(real.is_relative_to(folder.resolve()) for folder in [*folders, beside.parent]):
        raise ConfigError(
            KEY,
            f"{told}, which is not beside the store; to write there, allow it in your environment:"
            f" RUNNER_PLACES={place}",
        )


def _named() -> list[Path]:
    """Folders that the person allows."""
    return [Path(place).expanduser() for place in _places() if "://" not in place]


def _places() -> list[str]:
    """Servers and folders that the person allows."""
    return [place.strip() for place in os.environ.get("RUNNER_PLACES", "").split(",") if place.strip()]


def _scheme(uri: str) -> str:
    """In small letters; "" for a path. `C:` is no scheme."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.\-]+):", uri)
    return found[1].lower() if found else ""


def _is_local(uri: str) -> bool:
    return _scheme(uri) in ("", "file")


def _path(uri: str) -> Path:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri)).absolute()


def _file(store: str) -> Path | None:
    """The file of a SQLite store."""
    return Path(store.removeprefix("sqlite:///")).absolute() if store.startswith("sqlite:///") else None


def _is_host_of(uri: str, store: str) -> bool:
    """Whether both are on one host; `mlflow-artifacts:/` without a host is on the server's own."""
    try:
        one = urlsplit(uri)
        if one.scheme == "mlflow-artifacts" and not one.netloc:
            return True
        servers = [urlsplit(server) for server in (store, *_places()) if "://" in server]
        return bool(one.hostname) and any(
            one.hostname == server.hostname and _is_port(one, server) for server in servers
        )
    except ValueError:
        return False


def _is_port(one: SplitResult, server: SplitResult) -> bool:
    """Whether both mean the same port; `mlflow-artifacts` goes by the server's scheme, and files by their own port."""
    usual = {"http": 80, "https": 443}
    scheme = server.scheme if one.scheme == "mlflow-artifacts" else one.scheme
    port = one.port or usual.get(scheme)
    return one.scheme in ("ftp", "sftp") or port == (server.port or usual.get(server.scheme))


def _schemes() -> set[str]:
    """Those that MLflow, or a plugin that the person has installed, keeps artifacts by."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    return set(_artifact_repository_registry.get_registered_artifact_repositories())
