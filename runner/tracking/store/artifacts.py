"""Where artifacts are: what a store answers is checked before anything is read or written there.

A server says where a run's artifacts go. One that says `file:///home/me` would have checkpoints written over what is
there, and one that names another host would have them, and the credentials for itself, sent to it.
"""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import permission, record_reading

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


def forget() -> None:
    """Ask the stores again where artifacts are: one was moved."""
    _uris.clear()


def repository(client: "MlflowClient", run_id: str, writes: bool = False) -> Any:
    """MLflow's repository of a run's artifacts. Raises ConfigError where they may not be read, or written."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri as with_profile

    uri = place(client, run_id)
    if writes:
        check(uri, client.tracking_uri, run_id, writes=True)
    # MLflow's own client remembers it by the run alone, which a copied store has too.
    return get_artifact_repository(with_profile(uri, client.tracking_uri), client.tracking_uri)


def local(client: "MlflowClient", run_id: str) -> Path | None:
    """The run's artifact folder on a disk of this machine; None if they are elsewhere."""
    uri = place(client, run_id)
    return _path(uri) if _is_local(uri) else None


def put_model(client: "MlflowClient", model: Any, folder: Path) -> None:
    """The files of `folder` as those of a logged model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = model.artifact_location
    record_reading.run_id(model.model_id, "the id of a logged model")
    check(uri, client.tracking_uri, model.model_id, writes=True)
    if _is_local(uri):
        refuse_links(_path(uri), [PurePosixPath(path.relative_to(folder)) for path in folder.rglob("*")])
    get_artifact_repository(uri, client.tracking_uri).log_artifacts(str(folder))


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


def place(client: "MlflowClient", run_id: str) -> str:
    """The URI of a run's artifacts, as its store names it."""
    uri = _uris.get((client.tracking_uri, run_id))
    if uri is None:
        uri = str(client.get_run(run_id).info.artifact_uri)
        know(client, run_id, uri)
    return uri  # and not looked up again: another run's thread may have forgotten all meanwhile


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
    beside, above = uris.sqlite_path(store), path.parents[1] if owner else path
    folders = [
        *permission.folders(),
        *([Path.cwd()] if "://" in store and _scheme(store) not in ("http", "https") else []),
    ]
    if beside is None:
        if not any(real.is_relative_to(folder.resolve()) for folder in folders):
            raise ConfigError(
                KEY,
                f"{told}, a folder of this machine, which a store elsewhere may not name; start the server with"
                f" --serve-artifacts, or allow it in your environment: RUNNER_PLACES={above}",
            )
    elif writes and not any(real.is_relative_to(folder.resolve()) for folder in [*folders, beside.parent]):
        raise ConfigError(
            KEY,
            f"{told}, which is not beside the store; to write there, allow it in your environment:"
            f" RUNNER_PLACES={above}",
        )


def _scheme(uri: str) -> str:
    """In small letters; "" for a path. `C:` is no scheme."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.\-]+):", uri)
    return found[1].lower() if found else ""


def _is_local(uri: str) -> bool:
    return _scheme(uri) in ("", "file")


def _path(uri: str) -> Path:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri)).absolute()


def _is_host_of(uri: str, store: str) -> bool:
    """Whether both are on one host; `mlflow-artifacts:/` without a host is on the server's own."""
    try:
        one = urlsplit(uri)
        if one.scheme == "mlflow-artifacts" and not one.netloc:
            return True
        servers = [urlsplit(server) for server in (store, *permission.places()) if "://" in server]
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
