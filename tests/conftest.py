"""Creating a tracking store takes seconds, so it is done once and copied."""

import shutil
from pathlib import Path

import pytest

from runner import tracking


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store; tests copy it and leave it alone."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    tracking.open_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    """A working directory with an empty tracking store, `mlflow.db`."""
    for file in template.parent.glob("mlflow.db*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path
