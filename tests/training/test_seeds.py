"""The seed of weights, order and dropout is the job's, whatever else runs beside it; or the launcher says so."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.training.drive import drive
from runner.training.parts import source
from runner.training.vectorized import drive_many, groups
from tests.conftest import Start
from tests.support.command import newest, runner
from tests.support.sweeping import Family, artifacts, client, families

DRAWS = """
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchmetrics import MeanAbsoluteError

from runner.data import Data, Tensors

AT_IMPORT = [random.random(), float(np.random.rand()), float(torch.rand(()))]


def drawn():
    return random.random() + float(np.random.rand()) + float(torch.rand((), device="cpu"))


class Made(nn.Module):
    # Draws as it is made, and in each call.
    def __init__(self, seed: int = 0):
        super().__init__()
        self.by, self.seed, self.calls = drawn() + sum(AT_IMPORT), seed, 0

    def forward(self, x):
        self.calls += bool(self.training and not x.is_meta)
        if self.seed == 2 and self.calls == 5 and not Path("failed").exists():
            Path("failed").touch()
            raise RuntimeError("for once")
        return functional.dropout(x * self.by + (0 if x.is_meta else drawn()), 0.1, self.training)


class Attribute(nn.Module):
    # As it is made alone: not in its state, not in its arguments.
    def __init__(self):
        super().__init__()
        self.by = random.random()

    def forward(self, x):
        return x * self.by


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self._by = torch.rand(3, device="cpu")

    def forward(self, x):
        return x * self._by.sum().item() if not x.is_meta else x


class Noise(nn.Module):
    # In validation alone.
    def forward(self, x):
        return x if self.training or x.is_meta else x + random.random()


class Later(nn.Module):
    # After nine calls, which are counted where nobody looks.
    def __init__(self):
        super().__init__()
        self._calls = Calls()

    def forward(self, x):
        self._calls.number += bool(self.training and not x.is_meta)
        return x * random.random() if self._calls.number > 9 else x


class Calls:
    number = 0

    def __repr__(self):
        return "calls"


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = drawn()

    def forward(self, output, target):
        return self.by * ((output - target) ** 2).mean()


class Metric(MeanAbsoluteError):
    def compute(self):
        return super().compute() + torch.rand(())


class Rows(torch.utils.data.Dataset):
    # Draws whenever it is read.
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + random.random(), self.x[i] * 2 + torch.rand(1)


def rows(**further) -> Data:
    x = torch.rand(24, 1) + drawn()
    return Data(Rows(x), Tensors(x[:6], 2 * x[:6]))
"""
STUDY = """
data: {name: experiments.draws.rows}
model:
  layers: [{Linear: 8}, {experiments.draws.Made: {seed: "${seed}"}}, {Dropout: 0.3}, {AlphaDropout: 0.2}, {Linear: 1}]
loss: {name: experiments.draws.Loss}
optimizer: {name: Adam, lr: 0.01}
metrics: [experiments.draws.Metric]
trainer: {epochs: 3, batch_size: 8, threads: 1}
checkpoint: {every: 1}
plots: []
device: cpu
"""
JOBS = ("-m", "experiments=draws", "seed=2,1", "optimizer.lr=0.02,0.01", "sweep.plots=false")


def furnish(place: Path) -> None:
    (place / "experiments").mkdir()
    (place / "experiments" / "draws.py").write_text(DRAWS)
    (place / "experiments" / "draws.yaml").write_text(STUDY)


def sha256(place: Path, run: Any) -> str:
    return hashlib.sha256((newest(artifacts(place, run)) / "state_dict.pt").read_bytes()).hexdigest()


def figures(found: Family, place: Path) -> list[list[float]]:
    history = client(place).get_metric_history
    return [[p.value for n in ("train/loss", "valid/Metric") for p in history(j.info.run_id, n)] for j in found.jobs]


def test_a_job_is_the_same_alone_and_under_every_launcher_and_resumed(workplace: Path) -> None:
    """Draws at import, at construction, at reading, in forward, in loss and metric; of the order, of dropout."""
    furnish(workplace)
    (workplace / "failed").touch()
    alone = {}
    for seed, rate in (("2", "0.02"), ("1", "0.01")):
        run_id = runner("experiments=draws", f"seed={seed}", f"optimizer.lr={rate}", cwd=workplace).run_id
        alone[seed, rate] = sha256(workplace, client(workplace).get_run(run_id))
    (workplace / "failed").unlink()
    runner(*JOBS, cwd=workplace, code=1)  # jobs of seed 2 fail once, in the middle, and are resumed
    runner("resume", "last", cwd=workplace)
    for launcher in ("basic", "vectorized", "joblib"):
        further = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
        said = runner(*JOBS, f"hydra/launcher={launcher}", *further, cwd=workplace)
        assert launcher != "vectorized" or "run one by one: the train data is not in memory" in said.out
    one, *others = families(workplace)
    assert [one.weights[0], one.weights[3]] == [alone["2", "0.02"], alone["1", "0.01"]]
    assert len(set(one.weights)) == 4
    for other in others:
        assert other.weights == one.weights
        assert figures(other, workplace) == figures(one, workplace)


@pytest.fixture
def own(experiments: Path) -> Path:
    (experiments / "draws.py").write_text(DRAWS)
    return experiments


LINE: dict[str, Any] = {"Unflatten": {"dim": 1, "unflattened_size": [1, 1]}}
IMAGE: dict[str, Any] = {"Unflatten": {"dim": 1, "unflattened_size": [1, 1, 1]}}
ENCODER = {"TransformerEncoderLayer": {"d_model": 4, "nhead": 1, "dim_feedforward": 4, "batch_first": True}}
#: Layers that draw in training as `Dropout` does, or not as it does -> whether they can be stacked.
LAYERS: dict[str, tuple[list[Any], bool]] = {
    "Dropout": ([{"Linear": 8}, {"Dropout": 0.3}], True),
    "Dropout1d": ([LINE, {"Conv1d": {"out_channels": 4, "kernel_size": 1}}, {"Dropout1d": 0.3}, "Flatten"], True),
    "AlphaDropout": ([{"Linear": 8}, {"AlphaDropout": 0.3}], False),
    "FeatureAlphaDropout": (
        [IMAGE, {"Conv2d": {"out_channels": 4, "kernel_size": 1}}, {"FeatureAlphaDropout": 0.3}, "Flatten"],
        False,
    ),
    "RReLU": ([{"Linear": 8}, "RReLU"], False),
    "encoder": ([LINE, {"Linear": 4}, ENCODER, "Flatten"], False),
    "drawn as it is made": ([{"Linear": 3}, "experiments.draws.Attribute"], True),
    "drawn and hidden": ([{"Linear": 3}, "experiments.draws.Hidden"], True),
    "drawn in validation": ([{"Linear": 3}, "experiments.draws.Noise"], False),
}
#: Neighbours are alike in pairs: what two of them have in common, the others need not.
MANY = [(1, 0.05), (1, 0.02), (2, 0.05), (2, 0.02)]


@pytest.mark.parametrize("kind", LAYERS)
def test_models_trained_as_one_program_are_each_alone_or_are_not_stacked(kind: str, start: Start, own: Path) -> None:
    layers, stacks = LAYERS[kind]
    words: dict[str, Any] = {"layers": [*layers, {"Linear": 1}], "batch_size": 16}

    def runs() -> list[Any]:
        return [start(**words, seed=seed, optimizer={"name": "SGD", "lr": lr}) for seed, lr in MANY]

    one_by_one = []
    for seed, lr in MANY:
        run = start(**words, seed=seed, optimizer={"name": "SGD", "lr": lr})
        drive(run)
        one_by_one.append([value for _, value in run.history["train/loss"]])
    many = runs()
    together_, alone = groups(many)
    assert bool(alone) != stacks, alone
    for numbers in together_:
        assert drive_many([many[i] for i in numbers], [()] * len(numbers)) == [None] * len(numbers)
        for i in numbers:
            assert [value for _, value in many[i].history["train/loss"]] == pytest.approx(one_by_one[i], rel=1e-4)


def test_a_loss_that_draws_as_it_is_made_is_each_job_s_own(start: Start, own: Path) -> None:
    made = [start(loss={"name": "experiments.draws.Loss"}, seed=seed) for seed in (1, 1, 2, 2)]
    torch.rand(7)  # whatever has been drawn before
    assert [run.loss.by for run in made[:2]] == [start(loss={"name": "experiments.draws.Loss"}, seed=1).loss.by] * 2
    together_, alone = groups(made)
    assert together_ == [] or all(len({made[i].loss.by for i in numbers}) == 1 for numbers in together_)
    assert sorted([i for numbers in together_ for i in numbers] + list(alone)) == [0, 1, 2, 3]


def test_a_metric_that_draws_is_not_stacked(start: Start, own: Path) -> None:
    made = [
        start(metrics=["experiments.draws.Metric"], layers=[{"Dropout": 0.5}, {"Linear": 1}], seed=i) for i in (1, 2)
    ]
    together_, alone = groups(made)
    assert together_ == []
    assert set(alone.values()) == {"a layer or a metric draws random numbers in validation"}


def test_a_layer_that_begins_to_draw_later_ends_the_program(start: Start, own: Path) -> None:
    layers = [{"Linear": 2}, "experiments.draws.Later", {"Linear": 1}]
    made = [start(layers=layers, seed=1, epochs=30, optimizer={"name": "SGD", "lr": lr}) for lr in (0.1, 0.2)]
    [numbers], alone = groups(made)
    assert alone == {}
    with pytest.raises(Exception, match="draws random numbers, which all models would share"):
        drive_many([made[i] for i in numbers], [(), ()])


def test_what_a_module_draws_as_it_is_imported_is_the_same_in_every_process(own: Path) -> None:
    import random

    found = []
    for number in (1, 2):
        random.seed(number)
        before = random.getstate()
        sys.modules.pop("experiments.draws", None)
        found.append(source.resolve({"name": "experiments.draws.rows"}).target.__globals__["AT_IMPORT"])
        assert random.getstate() == before
    assert found[0] == found[1]


def test_without_a_look_at_what_layers_hold_one_would_work_for_all(
    start: Start, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of `drawn as it is made`."""
    monkeypatch.setattr(sys.modules["runner.training.vectorized.groups"], "own_attributes", lambda module: [])
    words: dict[str, Any] = {"layers": [{"Linear": 3}, "experiments.draws.Attribute", {"Linear": 1}]}
    made = [start(**words, seed=seed, optimizer={"name": "SGD", "lr": lr}) for seed, lr in MANY]
    alone = start(**words, seed=2, optimizer={"name": "SGD", "lr": MANY[2][1]})
    drive(alone)
    [numbers], _ = groups(made)
    drive_many([made[i] for i in numbers], [()] * len(numbers))
    assert made[2].history["train/loss"][0][1] != pytest.approx(alone.history["train/loss"][0][1], rel=1e-3)
