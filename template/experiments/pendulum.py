"""The parts that the study pendulum.yaml names: data, a layer, a loss, a metric and a plot."""

import csv
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn

from runner.data import Data, Tensors


def measurements(path: str, valid: float = 0.25, seed: int = 0) -> Data:
    """Return lengths (m) as inputs and periods (s) as targets, both float32 of shape (N, 1), in two parts.

    For a table as it is, no code is needed: `data=table data.path=data/pendulum.csv data.target=period_s`.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [(float(row["length_m"]), float(row["period_s"])) for row in csv.DictReader(file)]
    length, period = torch.tensor(rows).split(1, dim=1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    held, rest = order[: round(valid * len(rows))], order[round(valid * len(rows)) :]
    notes = {"features": ["length (m)"], "target": "period (s)"}  # names that plots show
    return Data(Tensors(length[rest], period[rest]), valid=Tensors(length[held], period[held]), notes=notes)


class PowerLaw(nn.Module):
    """A learned factor times a learned power of the input: shape (N, 1) in and out, inputs above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(()))
        self.exponent = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return factor * x ** exponent."""
        return torch.exp(self.log_factor + self.exponent * torch.log(x))


def relative(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of squared relative errors, so that short and long pendulums count alike."""
    return ((output - target) / target).square().mean()


class Within(torchmetrics.Metric):
    """The share of outputs that differ from their target by at most `tolerance`, as a share of the target."""

    def __init__(self, tolerance: float = 0.05) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch."""
        self.hits += ((preds - target).abs() <= self.tolerance * target.abs()).sum()
        self.count += target.numel()

    def compute(self) -> Tensor:
        """Return the share of all batches."""
        return self.hits / self.count


def draw(run: Any) -> Any:
    """Return a figure of the measurements and the law that was found; `run` is described in docs/plots.md."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="length (m)", ylabel="period (s)")
    for part, source in (("train", run.data.train), ("valid", run.data.valid)):
        x, y, output = run.predict(source)
        axes.scatter(x.flatten(), y.flatten(), s=12, label=part)
        order = x.flatten().argsort()
    axes.plot(x.flatten()[order], output.flatten()[order], color="black", label="model")
    axes.set_title(f"{run.title}: length ** {float(run.model.law.exponent.detach()):.3f}")
    axes.legend()
    return figure
