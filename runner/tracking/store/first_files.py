"""A store that takes no artifacts is detected when a run begins: by a missing package, or by the run's first files."""

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.errors import ConfigError
from runner.settings.files import durable
from runner.tracking.store import artifact_places, artifacts, mlflow_private, stores
from runner.tracking.store.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Seconds until a store that does not take the first files is asked again.
AGAIN = (1.0, 2.0)
#: Errors of a program and not of a store: another try does not mend them, and no setting is wrong.
MISTAKES = (AssertionError, AttributeError, NameError, TypeError)

#: Schemes of artifact stores whose package is installed.
_usable: set[str] = set()


def demand_packages(artifact_uri: str, tracking_uri: str) -> None:
    """Raise ConfigError if a package is missing to send artifacts to `artifact_uri`. Nothing is sent.

    `artifact_places.check` has refused schemes that MLflow does not have at all.
    """
    scheme = artifact_uri.partition(":")[0]
    if artifact_uri.startswith("/") or scheme in ("file", "mlflow-artifacts") or scheme in _usable:
        return
    try:
        with tempfile.TemporaryDirectory(prefix="runner-") as empty:
            mlflow_private.artifact_repository(artifact_uri, tracking_uri).log_artifacts(empty)
    except ImportError as error:
        raise artifact_places.missing_package(artifact_uri, error) from error
    except MISTAKES:
        raise
    except Exception:  # a store that is away now is asked again by put_first
        return
    _usable.add(scheme)


#: Places of artifacts that have taken files from this process.
_taking: set[str] = set()


def put_first(client: "MlflowClient", run_id: str, folder: Path) -> bool:
    """Put the first files of a run before anything is trained. Returns whether the store has them.

    It has not, and they have to wait, if it has taken those of an earlier run of this process and is away now, or if
    the disk is full.
    Raises ConfigError for a store that takes none: no credentials, no bucket, another address, a folder without rights.
    """
    place = artifact_places.place(client, run_id)
    above = place.partition(run_id)[0]
    for wait in (*AGAIN, None):
        try:
            artifacts.put(
                client, run_id, folder, None, Patience(), lasting=True
            )  # no checkpoint is of use without them
        except (ConfigError, *MISTAKES):  # a place that is refused, a mistake in a program
            raise
        except ImportError as error:
            raise artifact_places.missing_package(place, error) from error
        except Exception as error:  # of any other kind: each store's library has its own
            if above in _taking or durable.is_full(error):
                return False
            if wait is None or stores.is_refusal(error) or artifact_places.local(client, run_id) is not None:
                raise ConfigError(
                    "tracking.uri", f"artifacts cannot be kept in {above!r}: {_why(error, above)}"
                ) from error
            time.sleep(wait)
        else:
            _taking.add(above)
            return True
    raise AssertionError


def take_for_granted(run: "Run") -> None:
    """Treat the place of a run's artifacts as one that takes files: another process has put some there."""
    _taking.add(str(run.info.artifact_uri).partition(run.info.run_id)[0])


def _why(error: Exception, place: str) -> str:
    """Return why a store does not take a file; S3's library names the file before the reason."""
    message = stores.why(error)
    if place.startswith("mlflow-artifacts:") and message.endswith("answers with error 503"):
        return f"{message}: it serves no artifacts; start it with --serve-artifacts, or name another artifact root"
    return re.sub(r"^\w+: Failed to upload .*?: (?=An error occurred|[A-Z])", "", message)
