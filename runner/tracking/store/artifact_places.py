"""Places of artifacts: a place that a store names is checked before anything is read or written there.

A server names the place of a run's artifacts. One that names `file:///home/me` would have checkpoints written over the
files there, and one that names another host would have them, and the credentials for itself, sent to it.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import permission, record_reading
from runner.tracking.store import mlflow_private

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "tracking.uri"
#: Runs whose places are remembered: many are open at once when models are trained together.
REMEMBERED = 20_000
#: (tracking URI, run id) -> place of its artifacts, for the newest runs of this process: asking a store takes its time.
_uris: dict[tuple[str, str], str] = {}
#: Schemes that name a host, which has to be the tracking server's: MLflow sends its credentials along.
_HOSTS = ("http", "https", "ftp", "sftp", "mlflow-artifacts")
#: Schemes that stand for other artifacts, whose place MLflow finds only later.
_INDIRECT = ("runs", "models")


def remember(client: "MlflowClient", run_id: str, uri: str) -> None:
    """Remember where a run's artifacts are. Raises ConfigError for a place that no store may name."""
    record_reading.run_id(run_id)
    check(uri, client.tracking_uri, run_id)
    _note(client, run_id, uri)


def _note(client: "MlflowClient", run_id: str, uri: str) -> None:
    if len(_uris) >= REMEMBERED:
        _uris.clear()
    _uris[client.tracking_uri, run_id] = uri


def forget() -> None:
    """Forget all places, so that the stores are asked again: one was moved."""
    _uris.clear()


def repository(client: "MlflowClient", run_id: str, writes: bool = False) -> Any:
    """Return MLflow's repository of a run's artifacts.

    Raises ConfigError for a place from which nothing may be read, or, with `writes`, to which nothing may be written.
    """
    uri = place(client, run_id)
    if writes:
        check(uri, client.tracking_uri, run_id, writes=True)
    # MLflow's own client remembers it by the run alone, which a copied store has too.
    return mlflow_private.artifact_repository(uri, client.tracking_uri)


def local(client: "MlflowClient", run_id: str) -> Path | None:
    """Return the run's artifact folder on a disk of this machine; None if its artifacts are elsewhere."""
    return local_folder(place(client, run_id))


def local_folder(uri: str) -> Path | None:
    """Return the folder of this machine that a place of artifacts names; None if it names another machine."""
    if not _is_local(uri):
        return None
    return _folder(uri) if uri.startswith(("/", "file:///")) else mlflow_private.local_path(uri)


_folder = lru_cache(4096)(mlflow_private.local_path)  # of a place that does not follow the working directory


def check(uri: str, store: str, owner: str = "", writes: bool = False) -> None:
    """Raise ConfigError for a place of artifacts that the store at URI `store` may not name.

    owner: the id of the run or logged model, in whose own folder they are; "" for the place of an experiment.
    """
    scheme, claim = _scheme(str(uri)), _claim(uri)
    if not uri or uri != uri.strip() or not uri.isprintable():
        raise ConfigError(KEY, f"{claim}, which is no URI; expected one such as s3://bucket/folder")
    if _is_local(uri):
        _check_folder(uri, store, owner, writes)
    elif scheme in _HOSTS:
        if not _is_host_of(uri, store):
            raise ConfigError(
                KEY,
                f"{claim}, on another host than itself; nothing is sent there; if it is yours, allow it in your"
                " environment: RUNNER_PLACES=http://HOST:PORT",
            )
    elif scheme == "dbfs" and not store.startswith("databricks"):
        raise ConfigError(KEY, f"{claim}, which may be a folder of this machine; only Databricks may name it")
    elif scheme in _INDIRECT or scheme not in mlflow_private.artifact_schemes():
        raise ConfigError(KEY, f"{claim}, which is no place of artifacts; expected s3:// or mlflow-artifacts:/")


def refuse_links(root: Path, names: Iterable[str]) -> None:
    """Raise ConfigError if files of these names in the folder `root` would be written elsewhere, by a symbolic link.

    names: paths in `root`, with slashes.
    """
    seen: dict[str, bool] = {"": True}  # paths in root, and whether there is anything
    for name in names:
        above = ""
        for part in name.split("/"):
            path = f"{above}/{part}"
            if not seen[above]:
                break
            if path not in seen:
                seen[path] = _is_there(f"{root}{path}", root / name)
            above = path


def _is_there(path: str, file: Path) -> bool:
    """Return whether there is anything at `path`, which is `file` or above it. Raises ConfigError for a link."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(mode):
        raise ConfigError(KEY, f"{file} is in a symbolic link, and would be written elsewhere; remove it")
    return True


class Homes:
    """Folders of artifacts of many runs of local stores; what the folders above them have in common is checked once."""

    def __init__(self) -> None:
        self._checked: set[tuple[str, Path]] = set()

    def remember(self, client: "MlflowClient", run_id: str, uri: str) -> None:
        """Remember where the artifacts of a new run of a local store are. Raises what `folder` raises."""
        self._folder(client, run_id, uri)
        _note(client, run_id, uri)

    def folder(self, client: "MlflowClient", run_id: str) -> Path:
        """Return the run's artifact folder. Raises ConfigError for a place that no store may name.

        Raises OSError if the store's file is gone: to write beside it would make its former folder anew.
        """
        return self._folder(client, run_id, place(client, run_id))

    def _folder(self, client: "MlflowClient", run_id: str, uri: str) -> Path:
        folder = local_folder(uri)
        assert folder is not None, "the store is a local one"
        above = client.tracking_uri, folder.parent.parent
        usual = folder.parts[-2:] == (run_id, "artifacts") and ".." not in folder.parts
        if above not in self._checked or not usual or any(map(os.path.islink, (folder, folder.parent))):
            demand(client)
            check(uri, client.tracking_uri, run_id, writes=True)
            self._checked |= {above} if usual else set()
        return folder


def demand(client: "MlflowClient") -> None:
    """Raise OSError if a local store's file is gone: to write beside it would make its former folder anew."""
    path = uris.sqlite_path(client.tracking_uri)
    if path is not None and not path.exists():
        raise OSError(errno.ESTALE, "is not there any more; it was moved or deleted under the run", str(path))


def place(client: "MlflowClient", run_id: str) -> str:
    """Return the URI of a run's artifacts, as its store names it. Raises ConfigError for one that no store may name."""
    uri = _uris.get((client.tracking_uri, run_id))
    if uri is None:
        uri = str(client.get_run(run_id).info.artifact_uri)
        remember(client, run_id, uri)
    return uri  # not read from _uris: another run's thread may have emptied it meanwhile


def missing_package(uri: str, error: ImportError) -> ConfigError:
    """Return the error for artifacts at `uri` that this machine has no package for."""
    scheme, package = uri.partition(":")[0], error.name or str(error)
    return ConfigError(KEY, f"it keeps artifacts in {scheme}:, which needs the package {package}; install it")


def _claim(uri: object) -> str:
    return f"the store names {record_reading.cut(str(uri), 200)!r} as its place of artifacts"


def _check_folder(uri: str, store: str, owner: str, writes: bool) -> None:
    """Raise ConfigError unless a folder of this machine is the owner's alone and the store may name it.

    A store elsewhere may name folders that the person has allowed, and to be written it must be beside a local store.
    """
    claim, path = _claim(uri), mlflow_private.local_path(uri)
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise ConfigError(KEY, f"{claim}, which no file system has") from None
    if owner and real.parts[-2:] != (owner, "artifacts"):
        raise ConfigError(KEY, f"{claim}, no folder of its own; expected one that ends in {owner}/artifacts")
    beside, above = uris.sqlite_path(store), path.parents[1] if owner else path
    folders = [
        *permission.folders(),
        *([Path.cwd()] if "://" in store and _scheme(store) not in ("http", "https") else []),
    ]
    if beside is None:
        if not any(real.is_relative_to(folder.resolve()) for folder in folders):
            raise ConfigError(
                KEY,
                f"{claim}, a folder of this machine, which a store elsewhere may not name; start the server with"
                f" --serve-artifacts, or allow it in your environment: RUNNER_PLACES={above}",
            )
    elif writes and not any(real.is_relative_to(folder.resolve()) for folder in [*folders, beside.parent]):
        raise ConfigError(
            KEY,
            f"{claim}, which is not beside the store; to write there, allow it in your environment:"
            f" RUNNER_PLACES={above}",
        )


def _scheme(uri: str) -> str:
    """Return the scheme in small letters; "" for a path. `C:` is no scheme."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.\-]+):", uri)
    return match[1].lower() if match else ""


def _is_local(uri: str) -> bool:
    return _scheme(uri) in ("", "file")


def _is_host_of(uri: str, store: str) -> bool:
    """Return whether both are on one host; `mlflow-artifacts:/` without a host is on the server's own."""
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
    """Return whether both mean the same port: `mlflow-artifacts` has the server's, ftp and sftp have their own."""
    usual = {"http": 80, "https": 443}
    scheme = server.scheme if one.scheme == "mlflow-artifacts" else one.scheme
    port = one.port or usual.get(scheme)
    return one.scheme in ("ftp", "sftp") or port == (server.port or usual.get(server.scheme))
