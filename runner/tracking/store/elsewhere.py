"""A run's artifacts in a store that may be elsewhere: fetched from there, and what it takes to send them there."""

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError, Unreachable
from runner.settings.files import durable
from runner.settings.trust import record_reading
from runner.tracking.store import artifacts, stores
from runner.tracking.write import transfer
from runner.tracking.write.delivery import is_refusal
from runner.tracking.write.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Seconds until a store that does not hand a file over is asked again.
AGAIN = (1.0, 2.0)


def fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path | None:
    """A copy in `folder` of the artifact or the artifact folder `name`; None if the store has none.

    Of a local store it may be the file itself.
    Raises Unreachable if a store elsewhere does not hand it over, ConfigError if a package for it is missing.
    """
    record_reading.place(name, "the name of an artifact")
    here = artifacts.local(client, run_id)
    if here is not None:
        return here / name if (here / name).exists() else None
    for wait in (*AGAIN, None):
        try:
            return _fetch(client, run_id, name, folder)
        except ConfigError:  # a place that is refused
            raise
        except ImportError as error:
            raise _missing(artifacts.place(client, run_id), error) from error
        except Exception as error:  # of any kind: each store's library has its own
            durable.demand(Path(folder), 0)  # MLflow takes a full disk here for a wrong path
            if is_refusal(error):
                said = record_reading.cut(stores.first_line(error), 200)
                raise ConfigError("", f"{name} of run {run_id} cannot be read from its store: {said}") from error
            if wait is None:
                raise Unreachable(f"{name} of run {run_id} cannot be fetched: {stores.why(error)}") from error
        time.sleep(wait)
    raise AssertionError


def _fetch(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path | None:
    parent, _, last = name.rpartition("/")
    repository = artifacts.repository(client, run_id)
    files = [file for file in repository.list_artifacts(parent or None) if Path(file.path).name == last]
    if not files:
        return None
    if files[0].is_dir:
        files = repository.list_artifacts(name)
    with transfer.expecting(max((file.file_size or 0 for file in files), default=0)):
        return Path(repository.download_artifacts(name, folder))


#: Kinds of artifact stores whose package is there.
_usable: set[str] = set()


def demand_packages(artifact_uri: str, tracking_uri: str) -> None:
    """Raise ConfigError if artifacts cannot be sent to `artifact_uri` for want of a package. Nothing is sent.

    That there is a kind of store for it is what `artifacts.check` has seen to.
    """
    from mlflow.store.artifact import artifact_repository_registry as registry

    scheme = artifact_uri.partition(":")[0]
    if artifact_uri.startswith("/") or scheme in ("file", "mlflow-artifacts") or scheme in _usable:
        return
    try:
        with tempfile.TemporaryDirectory(prefix="runner-") as empty:
            registry.get_artifact_repository(artifact_uri, tracking_uri).log_artifacts(empty)
    except ImportError as error:
        raise _missing(artifact_uri, error) from error
    except Exception:  # a store that is away now is asked again, and what it does not take is kept
        return
    _usable.add(scheme)


#: Places of artifacts that have taken files from this process.
_taking: set[str] = set()


def put_first(client: "MlflowClient", run_id: str, folder: Path) -> bool:
    """Put the first files of a run, which tells whether its store takes any, before anything is trained.

    Returns False where they have to wait: the store has taken those of an earlier run of this process and is away, or
    the disk is full.
    Raises ConfigError for a store that takes none: no credentials, no bucket, another address, a folder without rights.
    """
    place = artifacts.place(client, run_id)
    above = place.partition(run_id)[0]
    for wait in (*AGAIN, None):
        try:
            stores.put(client, run_id, folder, None, Patience(), lasting=True)  # no checkpoint is of use without them
        except ConfigError:  # a place that is refused
            raise
        except ImportError as error:
            raise _missing(place, error) from error
        except Exception as error:  # of any kind: each store's library has its own
            if above in _taking or durable.is_full(error):
                return False
            if wait is None or is_refusal(error) or artifacts.local(client, run_id) is not None:
                raise ConfigError(
                    "tracking.uri", f"artifacts cannot be kept in {above!r}: {_why(error, above)}"
                ) from error
            time.sleep(wait)
        else:
            _taking.add(above)
            return True
    raise AssertionError


def take_for_granted(run: "Run") -> None:
    """Let the place of a run's artifacts be one that takes files: another process has put some there."""
    _taking.add(str(run.info.artifact_uri).partition(run.info.run_id)[0])


def _why(error: Exception, place: str) -> str:
    """Why a store does not take a file; S3's library names the file before the reason."""
    said = stores.why(error)
    if place.startswith("mlflow-artifacts:") and said.endswith("answers with error 503"):
        return f"{said}, as one does that serves none; start it with --serve-artifacts, or name another artifact root"
    return re.sub(r"^\w+: Failed to upload .*?: (?=An error occurred|[A-Z])", "", said)


def _missing(artifact_uri: str, error: ImportError) -> ConfigError:
    scheme, package = artifact_uri.partition(":")[0], error.name or str(error)
    return ConfigError(
        "tracking.uri", f"it keeps artifacts in {scheme}:, which needs the package {package}; install it"
    )
