"""A kind of artifact store of its own, `strange:` and a folder, that raises what it is given."""

import shutil
from pathlib import Path
from typing import Any

from mlflow.store.artifact import artifact_repository_registry as registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from runner.tracking.store import stores


class Strange(Exception):
    """An exception of no common kind, as azure, gcs, botocore and pyarrow have them."""


class Repository(LocalArtifactRepository):
    """Keeps files in the folder, unless it is `away`: then it raises that."""

    away: Exception | None = None

    def __init__(self, artifact_uri: str, *more: Any, **named: Any) -> None:
        super().__init__(artifact_uri.replace("strange:", "file:"), *more, **named)

    def log_artifacts(self, *arguments: Any, **named: Any) -> None:
        self._check()
        super().log_artifacts(*arguments, **named)

    def list_artifacts(self, *arguments: Any, **named: Any) -> Any:
        self._check()
        return super().list_artifacts(*arguments, **named)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete whatever begins with the name, as MLflow 3.11 does in an S3."""
        self._check()
        place = Path(self._artifact_dir) / str(artifact_path)
        for path in place.parent.glob(f"{place.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _check(self) -> None:
        if Repository.away is not None:
            raise Repository.away


def place(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///")).parent / "strange"


def create(uri: str) -> str:
    """Give the store at `uri` an experiment `tests` of this kind."""
    registry.get_registered_artifact_repositories()["strange"] = Repository
    Repository.away = None
    location = place(uri).as_uri().replace("file:", "strange:")
    stores.open_store(uri).create_experiment("tests", artifact_location=location)
    return uri
