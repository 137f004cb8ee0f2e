"""The best model of a run, which `logged_model` has written, as an MLflow model in a tracking store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.tracking.store import artifacts
from runner.tracking.write import transfer
from runner.tracking.write.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Name of the checkpoint whose weights are served.
CHECKPOINT = "best"


def put(client: "MlflowClient", run_id: str, folder: Path, step: int, patience: Patience) -> dict[str, str]:
    """Log the model in `folder` under the name `model`; returns the run's tags that name it.

    step: after which the model had its weights. A model of this step that a call before has begun is completed.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    logged = _begun(client, run_id, step)
    if logged.status != LoggedModelStatus.READY:
        transfer.run(lambda: artifacts.put_model(client, logged, folder), patience)
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=step)])
    return {
        "runner.logged_model": str(logged.model_uri),
        "runner.logged_model.checkpoint": f"{CHECKPOINT}, step {step}",
    }


def _begun(client: "MlflowClient", run_id: str, step: int) -> Any:
    experiment = client.get_run(run_id).info.experiment_id
    for logged in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if logged.tags.get("runner.step") == str(step):
            return logged
    tags = {"runner.checkpoint": CHECKPOINT, "runner.step": str(step)}
    return client.create_logged_model(experiment, name="model", source_run_id=run_id, model_type="torch", tags=tags)
