"""What a forecast says of memory is what a training takes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ends
from runner.data import Tensors
from runner.settings import Settings, torch_private
from runner.training.checking import checks, trial_steps
from runner.training.checking.forecast import forecast
from runner.training.checking.trial_steps import trial
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.conftest import settings

DIGITS = {"name": "digits", "valid": 0.2}
CROSS = {"name": "CrossEntropyLoss"}
ADAM = {"name": "Adam", "lr": 1e-3}
MLP = ["Flatten", {"Linear": 512}, "ReLU", {"Linear": 512}, "ReLU", {"Linear": 10}]
CONV: Any = {"Conv2d": {"out_channels": 32, "kernel_size": 3, "padding": 1}}
CNN = [CONV, "ReLU", CONV, "ReLU", {"MaxPool2d": 2}, "Flatten", {"Linear": 10}]
NORMS = [CONV, "BatchNorm2d", "ReLU", {"Dropout": 0.2}, CONV, "BatchNorm2d", "ReLU", "Flatten", {"Linear": 10}]
LSTM = [{"Flatten": {"start_dim": 1, "end_dim": 2}}, {"LSTM": {"hidden_size": 64, "batch_first": True}}, {"Select": 0},
        "Last", {"Linear": 10}]  # fmt: skip
ATTENTION = [{"Flatten": {"start_dim": 1, "end_dim": 2}}, {"Linear": 32},
             {"TransformerEncoderLayer": {"nhead": 4, "dim_feedforward": 128, "batch_first": True}}, "Last",
             {"Linear": 10}]  # fmt: skip

#: Ten trainings of different kinds.
TRAININGS: dict[str, dict[str, Any]] = {
    "wide": {"layers": ["Flatten", {"Linear": 2048}, "ReLU", {"Linear": 2048}, "ReLU", {"Linear": 10}]},
    "convolutions": {"layers": CNN},
    "norms and dropout": {"layers": NORMS, "optimizer": {"name": "SGD", "lr": 0.01, "momentum": 0.9}},
    "recurrent": {"layers": LSTM},
    "attention": {"layers": ATTENTION},
    "all examples at once": {"layers": MLP, "batch_size": None, "optimizer": {"name": "SGD", "lr": 0.1}},
    "accumulated and clipped": {"layers": CNN, "batch_size": 64, "accumulate": 4, "clip_norm": 1.0},
    "bf16": {"layers": CNN, "precision": "bf16"},
    "fp64": {"layers": NORMS, "precision": "fp64"},
    "LBFGS": {"layers": MLP, "optimizer": {"name": "LBFGS", "history_size": 5, "max_iter": 4}},
    "large data": {
        "layers": [{"Linear": 16}, "ReLU", {"Linear": 1}],
        "loss": {"name": "MSELoss"},
        "data": {"name": "line", "points": 200_000, "valid": 1000},
        "batch_size": 4096,
    },
}

#: A layer that needs numbers.
READS = """
from torch import nn


class Reads(nn.Module):
    def forward(self, x):
        return x if x.is_meta else x * float(x.detach().numpy().mean() + 1)
"""


def training(name: str) -> Settings:
    given = {"data": DIGITS, "loss": CROSS, "optimizer": ADAM, "epochs": 3, "batch_size": 128, **TRAININGS[name]}
    return settings(**given)


def forecast_and_measured(chosen: Settings) -> tuple[int, int]:
    """The bytes that are forecast, and the most of a training by torch's own count, with the model and the data."""
    checked = checks.check(chosen)
    rehearsed = forecast(chosen, checked)
    tried = trial(chosen, checked, rehearsed)
    assert rehearsed.rehearsed
    assert tried is not None
    cuda = checked.parts.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    run = prepare(chosen, "test")
    try:
        with ends.ending():
            found = measured(run) if not cuda else _on_gpu(run) - before
    finally:
        run.close()
    return rehearsed.with_work(tried.work).total, found


def measured(run: Run) -> int:
    parts = [part for part in (run.data.train, run.data.valid, run.data.test) if isinstance(part, Tensors)]
    tensors = [*run.model.parameters(), *run.model.buffers(), *(t for part in parts for t in (part.x, part.y))]
    before = sum({t.untyped_storage().data_ptr(): t.nbytes for t in tensors}.values())
    return before + torch_private.allocated(lambda: drive(run))


def _on_gpu(run: Run) -> int:
    drive(run)
    return torch.cuda.max_memory_allocated()


@pytest.mark.parametrize("name", TRAININGS)
def test_memory_is_forecast_within_15_percent(name: str, workplace: Path) -> None:
    expected, found = forecast_and_measured(training(name))
    assert expected == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("batch", [512, 4096])
def test_a_forecast_grows_with_the_batch_and_takes_no_memory_itself(batch: int, workplace: Path) -> None:
    images = {"name": "digits", "valid": 0}
    chosen = settings(data=images, layers=[CONV, "ReLU", "Flatten", {"Linear": 10}], loss=CROSS, batch_size=batch)
    checked = checks.check(chosen)
    live = forecast(chosen, checked).work
    outputs = 4 * 32 * 64 * min(batch, 1257 + 270)
    assert 2 * outputs < live < 5 * outputs
    assert torch_private.allocated(lambda: forecast(chosen, checked)) < 1e6


def test_what_cannot_be_rehearsed_is_forecast_by_formula(experiments: Path, workplace: Path) -> None:
    (experiments / "numbers.py").write_text(READS)
    chosen = settings(layers=[{"experiments.numbers.Reads": {}}, {"Linear": 1}])
    found = forecast(chosen, checks.check(chosen))
    assert not found.rehearsed
    assert found.gradients == 4 * 2


def test_nothing_is_drawn_by_a_trial(workplace: Path) -> None:
    chosen = training("norms and dropout")
    checked = checks.check(chosen)
    before = torch.get_rng_state()
    assert trial(chosen, checked, forecast(chosen, checked)) is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_that_is_too_large_is_not_tried(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = training("convolutions")
    checked = checks.check(chosen)
    monkeypatch.setattr(trial_steps, "WORK", {"cpu": 1.0})
    assert trial(chosen, checked, forecast(chosen, checked)) is None
