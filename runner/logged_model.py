"""The trained model as an MLflow model, which `mlflow.pyfunc.load_model` serves at any batch size."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log(client: "MlflowClient", run_id: str, model: nn.Module, x: Tensor, folder: Path) -> str:
    """Log `model` under the name `model` and return its URI, `models:/<id>`.

    x: at least two examples, batch first; a single one would fix the batch size at 1.
    folder: for files on their way.
    """
    import mlflow.pytorch
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import infer_signature

    was_training, where = model.training, next(iter(model.parameters()), x).device
    model.to("cpu").eval()  # what is written has dropout switched off for good
    x = x[:2].cpu()
    with torch.no_grad():
        output = model(x)
    place = folder / "model"
    with quiet():
        mlflow.pytorch.save_model(
            model,
            str(place),
            signature=infer_signature(x.numpy(), output.numpy()),
            input_example=x.numpy(),
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    model.to(where).train(was_training)
    run = client.get_run(run_id)
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run_id, model_type="torch")
    client.log_model_artifacts(logged.model_id, str(place))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.set_tag(run_id, "runner.logged_model", logged.model_uri)
    return str(logged.model_uri)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MLflow and torch.export speak at length about matters that are settled here."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "torch.export", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
