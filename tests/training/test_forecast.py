"""What a forecast says of memory is what a training takes."""

from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from runner.data import Tensors
from runner.settings import Settings, torch_private
from runner.training import finish
from runner.training.checking import checks
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


def training(name: str) -> Settings:
    given = {"data": DIGITS, "loss": CROSS, "optimizer": ADAM, "epochs": 3, "batch_size": 128, **TRAININGS[name]}
    return settings(**given)


def measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> int:
    """The most memory of a training by torch's own count of what is allocated, with the model and the data."""
    monkeypatch.setattr(finish, "finish", lambda run, draw: iter(()))
    parts = [part for part in (run.data.train, run.data.valid, run.data.test) if isinstance(part, Tensors)]
    tensors = [*run.model.parameters(), *run.model.buffers(), *(t for part in parts for t in (part.x, part.y))]
    before = sum({t.untyped_storage().data_ptr(): t.nbytes for t in tensors}.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        drive(run)
    return before + torch_private.most_allocated(profiled)


@pytest.mark.parametrize("name", TRAININGS)
def test_memory_is_forecast_within_15_percent(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = training(name)
    checked = checks.check(chosen)
    rehearsed = forecast(chosen, checked)
    tried = trial(chosen, checked, rehearsed)
    assert tried is not None
    expected = rehearsed.with_work(tried.work)
    run = prepare(chosen, "test")
    try:
        found = measured(run, monkeypatch)
    finally:
        run.close()
    print(name, expected, found, expected.total / found, tried.seconds)
    assert rehearsed.rehearsed
    assert expected.total == pytest.approx(found, rel=0.15)
