"""The checkpoints of a recorded run: which there are, and what is in them."""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from runner.settings.errors import ConfigError, Unreachable, first_line
from runner.settings.files import durable
from runner.settings.trust import record_reading, terminal
from runner.tracking.read import recall
from runner.training.state import checkpoint, pieces
from runner.training.state.history import Points

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclasses.dataclass
class CheckpointRef:
    """A checkpoint that a run's tags name."""

    place: str  # the artifact folder
    step: int
    sha256: dict[str, str]  # by file name


def recorded(uri: str, run_id: str, name: str) -> list[CheckpointRef]:
    """Return the run's checkpoints `last`, the newest first, or `best`. Raises ConfigError for damaged tags."""
    tags = recall.run(uri, run_id).data.tags
    return [CheckpointRef(**entry) for entry in record_reading.checkpoints(tags, name)]


def state(
    uri: str, run_id: str, classes: Iterable[type]
) -> tuple[CheckpointRef, dict[str, Tensor], dict[str, Any], list[str]]:
    """Load the newest checkpoint `last` that can be loaded.

    classes: of the modules, for a checkpoint that is a full model and no state_dict.
    Returns the checkpoint, its weights by their names, its training state, and a sentence for each newer checkpoint
    that could not be loaded.
    Raises CheckpointError if none can be loaded, ConfigError if there is none, Unreachable or OSError if the store is
    away or this disk is full.
    """
    client = recall.existing(uri)
    problems: list[str] = []
    checkpoints = recorded(uri, run_id, "last")
    if not checkpoints:
        recall.refuse_dropped(client, run_id, "checkpoint")
        status = client.get_run(run_id).info.status
        raise ConfigError(
            "", f"run {run_id} is {status} and kept no checkpoint to continue from; checkpoint.every=1 keeps some"
        )
    for reference in checkpoints:
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            try:
                files = recall.artifact(client, run_id, reference.place, folder)
                name = checkpoint.FILES["training"]
                training = checkpoint.load_training(files / name, reference.sha256.get(name))
                training["history"] = _history(client, run_id, training["history"], reference.step)
                return reference, _weights(files, reference.sha256, classes), training, problems
            except Exception as error:  # of any kind: there may be an older one
                _demand_answer(error)
                problems.append(f"checkpoint of step {reference.step}: {first_line(error)}")
    raise checkpoint.CheckpointError("; ".join(problems))


def _demand_answer(error: Exception) -> None:
    """Raise `error` if what was to be read may be whole: this disk is full, or the store is away."""
    if durable.is_full(error) or isinstance(error, Unreachable):
        raise error


def _history(client: "MlflowClient", run_id: str, newest: dict[str, Any], step: int) -> dict[str, Any]:
    """Join the history in a checkpoint with the pieces before it; without a piece, with the recorded metrics.

    Pieces are those of all checkpoints: one that is damaged is no reason to fall back to an earlier checkpoint.
    """
    if newest.get("piece") is None:
        return newest
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        try:
            files = recall.artifact(client, run_id, pieces.FOLDER, folder)
            return {**newest, "earlier": pieces.read(files, newest["piece"])}
        except Exception as error:
            _demand_answer(error)
            reason = first_line(error)
            terminal.say(f"history of run {run_id}: {reason}; the recorded metrics take its place")
    earlier = {}
    for name, (steps, _) in newest["points"].items():
        first = int(steps[0]) if len(steps) else step + 1
        history = client.get_metric_history(run_id, name)
        earlier[name] = Points(sorted((p.step, p.value) for p in history if p.step < first)).tensors()
    return {"points": newest["points"], "earlier": [earlier]}


def weights(uri: str, run_id: str, name: str = "last", classes: Iterable[type] = ()) -> dict[str, Tensor]:
    """Load parameters and buffers of a run's checkpoint by their names. No code in it is run.

    name: last, best or averaged.
    classes: of the modules, for a checkpoint that is a full model and no state_dict.
    Raises CheckpointError when the file is damaged, or has another SHA-256 than the run's tags name.
    """
    client = recall.existing(uri)
    tags = client.get_run(run_id).data.tags
    if f"checkpoint.{name}" not in tags:
        recall.refuse_dropped(client, run_id, "checkpoint")
        if name == "averaged":
            raise ConfigError("checkpoint", f"run {run_id} has no averaged weights: trainer.average makes some")
    place = record_reading.place(tags.get(f"checkpoint.{name}") or f"checkpoints/{name}", f"the tag checkpoint.{name}")
    digests = record_reading.tag(tags, f"checkpoint.{name}.sha256", dict[str, str], {})
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        return _weights(recall.artifact(client, run_id, place, folder), digests, classes)


def weights_of(uri: str, run_id: str, reference: CheckpointRef, classes: Iterable[type] = ()) -> dict[str, Tensor]:
    """Load parameters and buffers of one checkpoint, as `weights` does, by what the run's tags have of it."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        files = recall.artifact(recall.existing(uri), run_id, reference.place, folder)
        return _weights(files, reference.sha256, classes)


def _weights(files: Path, digests: dict[str, str], classes: Iterable[type]) -> dict[str, Tensor]:
    state_dict, model = (files / checkpoint.FILES[kind] for kind in checkpoint.MODELS)
    if state_dict.name in digests or state_dict.exists():
        return checkpoint.load_state_dict(state_dict, digests.get(state_dict.name))
    return checkpoint.load_model(model, classes, digests.get(model.name)).state_dict()
