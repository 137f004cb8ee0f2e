"""The model of a recorded run, ready to use: rebuilt from its configuration and filled with its checkpoint."""

import os
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import stack
from runner.settings import Settings, Tracking, random_state
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.values.lookup import use_folder
from runner.tracking import recorded_code
from runner.tracking.read import recall
from runner.training.state.checkpoint import fill

CHECKPOINTS = ("best", "last")


class Standardize(nn.Module):
    """(x - mean) / std, column by column, in double precision as the data source does it; `dtype` comes out."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).to(self.dtype)


def check(checkpoint: str) -> None:
    """Raises ConfigError for a checkpoint that no run has."""
    if checkpoint not in CHECKPOINTS:
        raise ConfigError("checkpoint", f"{checkpoint!r} is not one of {', '.join(CHECKPOINTS)}")


def load(
    run: str, uri: str | None = None, checkpoint: str = "best", raw: bool = True, *, code: str = "current"
) -> nn.Module:
    """The model of a recorded run, in eval mode, on the CPU.

    run: a run id, a unique prefix of one, or "last", the newest.
    uri: the tracking store; None: MLFLOW_TRACKING_URI, or else mlflow.db in the working directory.
    checkpoint: "best" by `trainer.monitor`, or "last".
    raw: the inputs are as they were before the data source standardized them, so that the model begins with
        `Standardize`; False: without it. It makes no difference where nothing was standardized.
    code: of layers of one's own: "current" imports them from experiments/ in the working directory, and says on
        standard error what has changed there; "recorded" runs the code that the run has kept, for runs that you trust.
        No code in the checkpoint is run.
    Raises ConfigError when there is no such run or checkpoint, CheckpointError when its SHA-256 is another than the
    recorded one.
    """
    check(checkpoint)
    recorded_code.check(code)
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or Tracking().uri
    run_id = recall.find_run(uri, run)
    settings, data = recall.settings(uri, run_id), recall.data(uri, run_id)
    for folder in reversed(places.experiments()):
        use_folder(folder)
    with recorded_code.used(uri, run_id, code):
        plan = stack.plan(settings.model.layers, example(data, "meta"))
        weights = recall.weights(uri, run_id, checkpoint, stack.classes(plan))
        return assembled(plan, settings, weights, data["notes"] if raw else {})


def assembled(
    plan: stack.Stack, settings: Settings, weights: dict[str, Tensor], notes: dict[str, Any] | None = None
) -> nn.Module:
    """The model of `plan` with `weights`, in eval mode, on the CPU; one that is served and one that is loaded are this.

    notes: of the data; with `mean` and `std` in them the model begins with `Standardize`, and takes inputs that are not
        standardized yet.
    The caller's random numbers stay as they are.
    """
    with random_state.started(settings.seed):  # a layer may draw more than its parameters as it is made
        model: nn.Module = plan.make()
    dtype = torch.float64 if settings.trainer.precision == "fp64" else torch.float32
    fill(model.to(dtype), weights)
    if notes and {"mean", "std"} <= notes.keys():
        scale = Standardize(notes["mean"], notes["std"], dtype)
        model = nn.Sequential(OrderedDict(standardize=scale, trained=model))
    return model.eval()


def example(data: dict[str, Any], device: str = "cpu") -> Tensor:
    """Two inputs as the model was trained with, batch first and without values."""
    told = data["example"]
    return torch.empty((2, *told["shape"]), dtype=getattr(torch, told["dtype"]), device=device)
