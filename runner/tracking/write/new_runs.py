"""Many new runs of a local store in one transaction: rows that MLflow would have written one by one, 10 ms each."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.tracking.store import mlflow_private
from runner.tracking.write.bulk import upsert

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


@dataclass
class NewRun:
    """A run that was created: its id, and the place of its artifacts."""

    run_id: str
    artifact_uri: str


def create(
    client: "MlflowClient", experiment: "Experiment", runs: Sequence[tuple[str, dict[str, str]]]
) -> list[NewRun] | None:
    """Create runs, RUNNING from now on, and return them in order. None, and nothing is written, if MLflow has to.

    experiment: an active one. runs: name and tags of each.
    MLflow has to for a store that is no SQLite file with the expected tables, and for a run without a name.
    """
    tables = mlflow_private.tables(client)
    plain = all(name and mlflow_private.NAME not in tags for name, tags in runs)
    if tables is None or not plain or {column.name for column in tables["SqlRun"].columns} != mlflow_private.RUN:
        return None
    ids = [uuid.uuid4().hex for _ in runs]
    new = [NewRun(run_id, mlflow_private.run_folder(experiment.artifact_location, run_id)) for run_id in ids]
    now = int(time.time() * 1000)
    rows = [_row(run, name, tags, experiment.experiment_id, now) for run, (name, tags) in zip(new, runs, strict=True)]
    texts = [
        (run.run_id, key, value)
        for run, (name, tags) in zip(new, runs, strict=True)
        for key, value in {**tags, mlflow_private.NAME: name}.items()
    ]
    with mlflow_private.session(client) as session:
        session.execute(tables["SqlRun"].insert(), rows)
        upsert(session, tables["SqlTag"], texts)
    return new


def _row(run: NewRun, name: str, tags: dict[str, str], experiment_id: str, now: int) -> dict[str, Any]:
    return {
        "run_uuid": run.run_id,
        "name": name,
        "artifact_uri": run.artifact_uri,
        "experiment_id": int(experiment_id),
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "source_version": "",
        "user_id": tags.get(mlflow_private.USER, "unknown"),
        "status": "RUNNING",
        "start_time": now,
        "end_time": None,
        "deleted_time": None,
        "lifecycle_stage": "active",
    }
