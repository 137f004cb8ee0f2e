"""Writing the best model of a run as an MLflow model, which `mlflow.pyfunc.load_model` serves at any batch size."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from runner.settings.errors import labelled
from runner.tracking.read import export, load
from runner.tracking.store.logged_models import CHECKPOINT
from runner.training.events import Served

if TYPE_CHECKING:
    from runner.tracking.write.tracker import Tracker
    from runner.training.run import Run


def log(tracker: "Tracker", run: "Run") -> None:
    """Log the model that `runner.load(run_id)` returns; the tag `runner.logged_model` names it when it is delivered.

    Its inputs are those before standardization, which is its first layer. Its metadata name the run and the checkpoint,
    and hold task, classes and notes of the data.
    Raises ExportError when the layers cannot be written as one program, or its outputs differ from theirs.
    """
    import mlflow.pytorch
    from mlflow.models import infer_signature

    weights = run.best.weights
    assert weights is not None, "a run is logged when it is finished"
    model = load.assembled(run.stack, run.settings, weights, run.data.notes)
    x = _examples(run)
    with torch.no_grad():
        output = model(x[:2])
    place = run.folder / "model"
    try:
        with quiet():
            mlflow.pytorch.save_model(
                model,
                str(place),
                signature=infer_signature(x[:2].numpy(), output.numpy()),
                input_example=x[:2].numpy(),
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
                metadata=_metadata(tracker.run_id, run),
                serialization_format="pt2",
            )
            _stay_on_cpu(place)
            _check(export.Source(model, x, "", {}), place)
    except Exception as error:
        raise export.ExportError(
            f"tracking.log_model: the model cannot be served: {labelled(error)};"
            " the run is complete but for that; tracking.log_model=false leaves it out"
        ) from error
    tracker.record(Served(run.best.step, place))


def _examples(run: "Run") -> Tensor:
    """Return as many inputs as are compared, as they were before standardization.

    A single example is repeated: torch.export would take a batch of one for a size that never changes.
    """
    x = run.batch_of(max(export.SIZES)).detach().cpu()
    x = torch.cat([x] * -(-max(export.SIZES) // len(x)))[: max(export.SIZES)]
    notes = run.data.notes
    if not {"mean", "std"} <= notes.keys():
        return x
    mean, std = (torch.tensor(notes[name], dtype=torch.float64) for name in ("mean", "std"))
    return x.double() * std + mean


def _metadata(run_id: str, run: "Run") -> dict[str, Any]:
    """Return what a user of the model must know, as plain values."""
    standardized = {"mean", "std"} <= run.data.notes.keys()
    facts = {
        "run": run_id,
        "checkpoint": CHECKPOINT,
        "step": run.best.step,
        "inputs": "not standardized; the model does it" if standardized else "as the run was trained on",
        "task": run.data.task,
        "classes": run.data.classes,
        "notes": run.data.notes,
    }
    return json.loads(json.dumps(facts, default=str))  # type: ignore[no-any-return]


def _stay_on_cpu(place: Path) -> None:
    """Have the model served where its tensors are: MLflow would expect those of an exported program on a GPU."""
    from mlflow.models import Model

    model = Model.load(str(place))
    model.flavors["python_function"]["config"] = {"device": "cpu"}
    model.save(str(place / "MLmodel"))


def _check(source: export.Source, place: Path) -> None:
    """Raise ExportError if what was written gives other outputs than the model in memory."""
    [path] = place.glob("data/*.pt2")
    export.compare(source, torch.export.load(path).module())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and logs of MLflow and torch.export within the block, about choices that are made here."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "torch.export", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
