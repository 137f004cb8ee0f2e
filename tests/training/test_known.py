"""Jobs that share what the checks have found are the jobs that they are alone."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner.data import Tensors
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.training.checking import checks
from runner.training.checking.known import Known
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.conftest import settings

Make = Callable[..., Run]
LAYERS: list[Any] = [{"Linear": 8}, "ReLU", {"Dropout": 0.25}, {"Linear": 1}]
#: Changes of settings; jobs of all of them take turns.
JOBS: list[dict[str, Any]] = [
    {},
    {"seed": 1},
    {"seed": 2, "optimizer": {"name": "SGD", "lr": 0.5}},
    {"optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}},
    {"optimizer": {"name": "Adam", "lr": 1, "betas": [0.8, 0.9]}},
    {"layers": [{"Linear": 8}, "ReLU", {"Dropout": 0.75}, {"Linear": 1}], "seed": 3},
    {"layers": [{"Linear": 9}, "ReLU", {"Dropout": {"p": 0.25}}, {"Linear": 1}]},
    {
        "layers": [
            {"Sequential": [{"Linear": 4}, {"Dropout": 0.5}]},
            {"Repeat": {"layers": ["ReLU", {"Linear": 1}], "times": 2}},
        ]
    },
    {"batch_size": 7, "clip_norm": 0.5},
    {"batch_size": 7, "clip_norm": 1.5, "min_delta": 0.1},
    {"precision": "fp64"},
    {"precision": "fp64", "seed": 9},
    {"loss": {"name": "L1Loss"}, "metrics": ["MeanAbsoluteError"]},
    {"loss": {"name": "L1Loss"}, "metrics": ["MeanAbsoluteError"], "seed": 4},
    {"scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.5}},
    {"epochs": 0},
]
OWN = """
import torch
from torch import nn
from runner import data

calls = []

def counted():
    calls.append(1)
    x = torch.rand(32, 3)
    return data.Data(data.Tensors(x, x[:, :1]), valid=data.Tensors(x[:9], x[:9, :1]))

class Writes(nn.Module):
    def forward(self, x):
        return x.mul_(1.0)
"""


def job(changes: dict[str, Any]) -> Settings:
    return settings(**{"layers": LAYERS, **changes})


@pytest.fixture
def make() -> Iterator[Make]:
    runs: list[Run] = []

    def made(told: Settings, known: Known | None = None) -> Run:
        runs.append(prepare(told, "test", known=known))
        return runs[-1]

    yield made
    for run in runs:
        run.close()


def bits(run: Run) -> list[Any]:
    """All that decides how a run trains, as text."""
    data = [part for part in (run.data.train, run.data.valid, run.data.test) if isinstance(part, Tensors)]
    return [
        {name: value.tolist() for name, value in run.model.state_dict().items()},
        repr(run.model),
        repr(run.stack.layers),
        [(part.x.dtype, part.x.tolist(), part.y.tolist()) for part in data],
        repr(run.state.optimizer),
        repr(run.schedule.scheduler and run.schedule.scheduler.state_dict()),
        repr(run.loss),
        repr(run.metrics),
        [str(run.ready["python"]), run.ready["numpy"][1].tolist(), run.ready["torch"].tolist()],
        (run.threads, run.best.mode, run.monitor),
    ]


def test_a_run_of_a_sweep_is_the_run_alone(make: Make) -> None:
    known = Known()
    for changes in [*JOBS, *JOBS[::-1]]:
        assert bits(make(job(changes), known)) == bits(make(job(changes))), changes


def test_runs_that_share_train_as_they_do_alone(make: Make) -> None:
    known = Known()
    runs = [make(job({"seed": seed, "metrics": ["MeanAbsoluteError"]}), known) for seed in (1, 1, 2)]
    assert len({id(run.data) for run in runs}) == 1
    assert len({id(run.metrics["MeanAbsoluteError"]) for run in runs}) == 3
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        alone = make(job({"seed": seed, "metrics": ["MeanAbsoluteError"]}))
        for one in (run, alone):
            torch.manual_seed(seed)
            drive(one)
        assert {name: list(points) for name, points in run.history.items()} == {
            name: list(points) for name, points in alone.history.items()
        }
        assert all(map(torch.equal, run.model.parameters(), alone.model.parameters()))


def test_a_run_of_ones_own_has_data_of_its_own(make: Make) -> None:
    one, other = make(job({})), make(job({}))
    assert isinstance(one.data.train, Tensors)
    assert isinstance(other.data.train, Tensors)
    assert one.data.train.x.data_ptr() != other.data.train.x.data_ptr()


def test_what_is_equal_is_planned_and_rehearsed_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known, rehearsed = Known(), []
    check = checks.rehearsal.check
    monkeypatch.setattr(checks.rehearsal, "check", lambda *args: rehearsed.append(1) or check(*args))
    for seed in range(5):
        for rate in (0.1, 0.2, 1):
            make(job({"seed": seed, "optimizer": {"name": "SGD", "lr": rate}}), known)
    assert len(rehearsed) == 1
    make(job({"layers": [{"Linear": 8}, "ReLU", {"Dropout": 0.5}, {"Linear": 1}]}), known)
    assert len(rehearsed) == 1
    make(job({"layers": [{"Linear": 7}, "ReLU", {"Dropout": 0.5}, {"Linear": 1}]}), known)
    assert len(rehearsed) == 2


WRONG: list[dict[str, Any]] = [
    {"seed": -1},
    {"optimizer": {"name": "SGD", "lr": -0.1}},
    {"optimizer": {"name": "SGD", "lr": "fast"}},
    {"optimizer": {"name": "SGD", "lr": 0.1, "nesterov": True}},
    {"optimizer": {"name": "Adam", "lr": 0.1, "betas": [0.9, 1.5]}},
    {"layers": [{"Linear": 8}, "ReLU", {"Dropout": 1.5}, {"Linear": 1}]},
    {"layers": [{"Linear": 8}, "ReLU", {"Dropout": 0.5}, {"Linear": 2}]},
    {"clip_norm": -1.0},
    {"batch_size": 0},
    {"patience": 3, "monitor": "valid/x"},
    {"scheduler": {"name": "StepLR", "step_size": 0}},
    {"seed": -1, "layers": [{"Linear": 8}, "ReLU", {"Dropout": 1.5}, {"Conv2d": 2}], "batch_size": -1},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_what_is_wrong_is_found_with_the_same_words(changes: dict[str, Any]) -> None:
    known = Known()
    for right in JOBS[:4]:
        checks.check(job(right), known=known)
    messages = []
    for before in (None, known, known):
        with pytest.raises(ConfigError) as error:
            checks.check(job(changes), known=before)
        messages.append(str(error.value))
    assert messages[0] == messages[1] == messages[2]


def test_a_file_that_has_changed_is_read_again(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known, firsts = Known(), []
    for value in (1.0, 2.0):
        x = np.full((40, 3), value, dtype=np.float32)
        np.savez("xy.npz", x=x, y=x[:, :1] + int(value), x_valid=x[:9], y_valid=x[:9, :1])
        run = make(job({"data": {"name": "arrays", "path": "xy.npz", "task": "regression"}}), known)
        assert isinstance(run.data.train, Tensors)
        firsts.append(run.data.train.x[0, 0].item())
    assert firsts == [1.0, 2.0]


def test_nothing_is_known_of_code_of_ones_own(make: Make, experiments: Path) -> None:
    (experiments / "own.py").write_text(OWN)
    known, layers = Known(), ["experiments.own.Writes", {"Linear": 1}]
    runs = [make(job({"data": {"name": "experiments.own.counted"}, "layers": layers}), known) for _ in range(2)]
    from experiments.own import calls  # type: ignore[import-not-found]

    assert len(calls) == 2
    assert runs[0].data is not runs[1].data
    known = Known()
    runs = [make(job({"layers": layers, "seed": seed}), known) for seed in range(2)]
    sources = [run.data.train for run in runs]
    assert sources[0] is not sources[1]


def test_jobs_of_many_sets_of_data_are_right_and_few_are_held(make: Make) -> None:
    known = Known()
    for seed in (*range(6), 2):
        data = {**job({}).data, "seed": seed}
        one, alone = make(job({"data": data}), known), make(job({"data": data}))
        assert bits(one) == bits(alone)
    assert len(known._data) == 3
    assert known._kinds.keys() <= known._data.keys()


def test_a_job_whose_settings_are_changed_in_place_is_checked_anew() -> None:
    known, told = Known(), job({})
    checks.check(told, known=known)
    changed = dataclasses.replace(told, model=dataclasses.replace(told.model, layers=[{"Linear": 2}]))
    with pytest.raises(ConfigError, match=r"model\.layers"):
        checks.check(changed, known=known)
