"""The best model of a run, which `read/logged_model.py` has written, as an MLflow model in a tracking store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.trust import record_reading
from runner.tracking.store import artifact_places, mlflow_private, transfer
from runner.tracking.store.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Name of the checkpoint whose weights are served.
CHECKPOINT = "best"


def put(client: "MlflowClient", run_id: str, folder: Path, step: int, patience: Patience) -> dict[str, str]:
    """Log the model in `folder` under the name `model`. Returns the run's tags that name it.

    step: after which the model had its weights. A model of this step that an earlier call has begun is completed.
    patience: how long the store may take.
    Raises whatever the store's own library raises, ConfigError for a place that the store may not name.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    model = _begun(client, run_id, step)
    if model.status != LoggedModelStatus.READY:
        transfer.run(lambda: put_files(client, model, folder), patience)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    return {
        "runner.logged_model": str(model.model_uri),
        "runner.logged_model.checkpoint": f"{CHECKPOINT}, step {step}",
    }


def _begun(client: "MlflowClient", run_id: str, step: int) -> Any:
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.tags.get("runner.step") == str(step):
            return model
    tags = {"runner.checkpoint": CHECKPOINT, "runner.step": str(step)}
    return client.create_logged_model(experiment, name="model", source_run_id=run_id, model_type="torch", tags=tags)


def put_files(client: "MlflowClient", model: Any, folder: Path) -> None:
    """Put the files of `folder` where MLflow's logged `model` has its own."""
    uri = model.artifact_location
    record_reading.run_id(model.model_id, "the id of a logged model")
    artifact_places.check(uri, client.tracking_uri, model.model_id, writes=True)
    local = artifact_places.local_folder(uri)
    if local is not None:
        artifact_places.refuse_links(local, [path.relative_to(folder).as_posix() for path in folder.rglob("*")])
    mlflow_private.artifact_repository(uri, client.tracking_uri).log_artifacts(str(folder))
