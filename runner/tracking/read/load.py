"""Loading the model of a recorded run: built from its configuration and filled with its checkpoint."""

import os
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import nests
from runner.data._rows import remembered
from runner.model import stack, whole
from runner.settings import CHECKPOINTS, Settings, Tracking, loaded, random_state
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.values.lookup import use_folder
from runner.tracking import recorded_code
from runner.tracking.read import checkpoints, recall
from runner.training.state.checkpoint import digest, fill


class Standardize(nn.Module):
    """A layer that computes (x - mean) / std, column by column, in double precision as the data source does.

    mean, std: a number for each column. dtype: of the output.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardized x, of the same shape, (N, columns)."""
        return ((x - self.mean) / self.std).to(self.dtype)


def check(checkpoint: str) -> None:
    """Raise ConfigError for a checkpoint other than `best`, `last` and `averaged`."""
    if checkpoint not in CHECKPOINTS:
        raise ConfigError("checkpoint", f"{checkpoint!r} is not one of {', '.join(CHECKPOINTS)}")


def load(
    run: str, uri: str | None = None, checkpoint: str = "best", raw: bool = True, *, code: str = "current"
) -> nn.Module:
    """Return the model of a recorded run, in eval mode, on the CPU.

    run: a run id, a unique prefix of one, or "last", the newest.
    uri: the tracking store; None: MLFLOW_TRACKING_URI, or else mlflow.db in the working directory. In code of an
        experiment that is being made, None is the store of its run; the record then has which run was loaded, and
        `evaluate`, `resume` and `reproduce` load the same, whatever `last` is by then.
    checkpoint: "best" by `trainer.monitor`, "last", or "averaged", the last of `trainer.average`.
    raw: True: the model takes inputs as they were before the data source standardized them, and begins with
        `Standardize`; False: it takes standardized inputs. There is no difference if nothing was standardized.
    code: of own layers: "current" imports them from experiments/ in the working directory, and reports on
        standard error what has changed there; "recorded" runs the code in the run's record, for runs that you trust.
        No code in the checkpoint is run.
    Raises ConfigError when there is no such run or checkpoint, CheckpointError when its SHA-256 is not the recorded
    one, Unreachable when the store is away.

        model = runner.load("last")
        with torch.no_grad():
            output = model(torch.rand(2, 1, 8, 8))
    """
    check(checkpoint)
    recorded_code.check(code)
    notes = loaded.now() if uri is None else None
    uri = uri or (notes.uri if notes else os.environ.get("MLFLOW_TRACKING_URI") or Tracking().uri)
    run_id = recall.find_run(uri, notes.meant(run, checkpoint) if notes else run)
    settings, data = recall.settings(uri, run_id), recall.data(uri, run_id)
    for folder in reversed(places.experiments()):
        use_folder(folder)
    with recorded_code.used(uri, run_id, code):
        plan = whole.planned(settings.model, example(data, "meta"))
        weights = checkpoints.weights(uri, run_id, checkpoint, stack.classes(plan))
        if notes:
            notes.note(run, checkpoint, run_id, digest(weights))
        model = assembled(plan, settings, weights, data["notes"] if raw else {})
        loaded.keep(model.parameters())
        return model


def assembled(
    plan: stack.Stack, settings: Settings, weights: dict[str, Tensor], notes: dict[str, Any] | None = None
) -> nn.Module:
    """Return the model of `plan` with `weights`, in eval mode, on the CPU: one that is loaded, or one that is served.

    weights: parameters and buffers by their names. notes: of the data; with `mean` and `std` in them the model begins
        with `Standardize`, and takes inputs that are not standardized.
    The caller's random state does not change.
    """
    with random_state.started(settings.seed):  # a layer may draw more than its parameters as it is made
        model: nn.Module = plan.make()
    dtype = torch.float64 if settings.trainer.precision == "fp64" else torch.float32
    fill(model.to(dtype), weights)
    if notes and {"mean", "std"} <= notes.keys():
        scale = Standardize(notes["mean"], notes["std"], dtype)
        model = nn.Sequential(OrderedDict(standardize=scale, trained=model))
    return model.eval()


def example(data: dict[str, Any], device: str = "cpu") -> Any:
    """Return a batch of two inputs of the shape and type that the model was trained with; values are undefined.

    data: a run's data.json.
    """
    return remembered(nests.of_form(data["example"], 2, device), data.get("rows", []))
