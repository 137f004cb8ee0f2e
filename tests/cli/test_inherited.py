"""Studies that inherit from studies, and values that replace what they have nothing in common with."""

from pathlib import Path
from typing import Any

import pytest

from runner.cli.guard import studies
from tests.support import composing

FILES = {
    "base": "defaults: [override /data: digits, override /model: mlp, override /optimizer: adam,"
    " override /loss: cross_entropy, override /scheduler: cosine]\noptimizer: {lr: 0.005}\ndata: {flat: true}\n",
    "own": "model: {layers: {flatten: Flatten, rnn: {Linear: {out_features: 8, bias: false}}, head: {Linear: 10}}}\n"
    "data: {name: experiments.mine.ten, points: 20}\nloss: {name: CrossEntropyLoss, label_smoothing: 0.1}\n"
    "optimizer: {name: SGD, lr: 0.1, momentum: 0.9}\nscheduler: {name: StepLR, step_size: 3}\n",
    "head": "defaults: [base]\nmodel: {layers: {head: {Linear: {bias: false}}}}\n",
    "act": "defaults: [base]\nmodel: {layers: {relu1: Tanh, head: {Bilinear: 3}}}\n",
    "listed": "defaults: [base]\nmodel: {layers: [Flatten, {Linear: 10}]}\n",
    "unlisted": "defaults: [listed]\nmodel: {layers: {flat: Flatten, out: {Linear: 10}}}\n",
    "mine": "defaults: [base]\nmodel: {layers: {flatten: Flatten, out: {Linear: 10}}}\n",
    "repeated": "defaults: [base]\nmodel: {layers: {flatten: Flatten, head: {Linear: 12}}}\n",
    "deep": "defaults: [head]\nmodel: {layers: {head: {Linear: {out_features: 10}}}}\ntrainer: {epochs: 2}\n",
    "sgd": "defaults: [base]\noptimizer: {name: SGD, momentum: 0.9}\n",
    "preset": "defaults:\n  - override /optimizer: sgd\n  - own\n",
    "chosen": "defaults: [base, override /optimizer: sgd, override /data: line]\n",
    "before": "defaults: [_self_, base]\noptimizer: {lr: 1.0, weight_decay: 0.5}\n",
    "two": "defaults: [base, shorter]\n",
    "shorter": "trainer: {epochs: 4}\n",
    "without": "defaults: [base, override /scheduler: null]\n",
    "nothing": "defaults: [own]\nscheduler: null\n",
    "spelled": "defaults: [experiments/base.yaml]\n",
    "keyed": "defaults: [/experiments: base]\n",
    "again": "defaults: [again]\n",
    "one": "defaults: [other]\n",
    "other": "defaults: [one]\n",
    "outside": "defaults: [../conf/model/mlp]\n",
    "nobody": "defaults: [bass]\n",
    "wide": "defaults: [digits_cnn]\nmodel: {layers: {conv1: {Conv2d: {out_channels: 64}}}}\n",
}
MINE = """
import torch
from runner.data import Data, Tensors

def ten(points):
    return Data(Tensors(torch.rand(points, 4), torch.arange(points) % 10), task="classification")
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: Any, experiments: Path) -> Path:
    for name, text in FILES.items():
        (experiments / f"{name}.yaml").write_text(text)
    (experiments / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(key: str, *words: str) -> Any:
    with composing.hydra():
        value: Any = composing.settings(*words)
    for name in key.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


MLP = ["flatten", "hidden1", "relu1", "drop1", "hidden2", "relu2", "drop2", "head"]


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("experiments=head", "optimizer.lr", 0.005),
        ("experiments=head", "model.layers.head", {"Linear": {"bias": False}}),
        ("experiments=act", "model.layers.head", {"Bilinear": 3}),
        ("experiments=act", "model.layers.relu1", "Tanh"),
        ("experiments=listed", "model.layers", ["Flatten", {"Linear": 10}]),
        ("experiments=unlisted", "model.layers", {"flat": "Flatten", "out": {"Linear": 10}}),
        ("experiments=mine", "model.layers", {"flatten": "Flatten", "out": {"Linear": 10}}),
        ("experiments=repeated", "model.layers", {"flatten": "Flatten", "head": {"Linear": 12}}),
        ("experiments=deep", "model.layers.head", {"Linear": {"bias": False, "out_features": 10}}),
        ("experiments=deep", "trainer.epochs", 2),
        ("experiments=sgd", "optimizer", {"name": "SGD", "momentum": 0.9}),
        ("experiments=preset", "optimizer.lr", 0.5),
        ("experiments=chosen", "optimizer", {"name": "SGD", "lr": 0.005}),
        ("experiments=before", "optimizer.lr", 0.005),
        ("experiments=before", "optimizer.weight_decay", 0.5),
        ("experiments=two", "trainer.epochs", 4),
        ("experiments=without", "scheduler", None),
        ("experiments=nothing", "scheduler", None),
        ("experiments=spelled", "optimizer.lr", 0.005),
        ("experiments=keyed", "optimizer.lr", 0.005),
        ("experiments=wide", "model.layers.conv1", {"Conv2d": {"out_channels": 64, "kernel_size": 3, "padding": 1}}),
        ("experiments=own scheduler=null", "scheduler", None),
        ("experiments=own ~scheduler", "scheduler", None),
        ("experiments=base ~scheduler", "scheduler", None),
        ("experiments=own scheduler=cosine", "scheduler.name", "CosineAnnealingLR"),
        ("experiments=own data=line data.points=30", "data.points", 30),
        ("experiments=own data=line", "data.points", 200),
        ("experiments=own optimizer=adam", "optimizer.lr", 0.001),
        ("experiments=base optimizer=sgd", "optimizer.lr", 0.005),
        ("experiments=own model=linear", "model.layers", [{"Linear": 1}]),
        ("experiments=own model.layers.rnn={GRU:{hidden_size:64}}", "model.layers.rnn", {"GRU": {"hidden_size": 64}}),
        ("experiments=own model.layers.rnn={Linear:9}", "model.layers.rnn", {"Linear": 9}),
        ("experiments=own model.layers.rnn={Linear:{out_features:9}}", "model.layers.rnn", {"Linear": {"out_features": 9}}),
        ("experiments=own model.layers.rnn.Linear={out_features:9}", "model.layers.rnn.Linear.bias", False),
        ("experiments=own model.layers.rnn=ReLU", "model.layers.rnn", "ReLU"),
        ("experiments=own model.layers=[Flatten]", "model.layers", ["Flatten"]),
        ("experiments=digits_cnn model.layers=[Flatten]", "model.layers", ["Flatten"]),
        ("experiments=listed model.layers={out:{Linear:10}}", "model.layers", {"out": {"Linear": 10}}),
        ("experiments=base optimizer={name:SGD,lr:0.2}", "optimizer", {"name": "SGD", "lr": 0.2}),
        ("experiments=base optimizer={lr:0.2}", "optimizer.betas", [0.9, 0.999]),
    ],
)  # fmt: skip
def test_a_study_is_what_it_inherits_and_what_it_says(words: str, key: str, value: Any, there: Path) -> None:
    assert found(key, *words.split()) == value


def test_layers_that_change_inherited_ones_leave_the_others(there: Path) -> None:
    assert list(found("model.layers", "experiments=deep")) == MLP


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("experiments=again", "defaults: studies inherit from each other in a circle, again -> again; take one of them out"),
        ("experiments=one", "defaults: studies inherit from each other in a circle, one -> other -> one; take one of them out"),
        ("experiments=outside", "experiments/../conf/model: "),
        ("experiments=nobody", "experiments: there is no preset 'bass'; did you mean 'base'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_inherited_is_refused(words: str, problem: str, there: Path) -> None:
    with composing.hydra():
        assert problem in composing.problem(*words.split())


@pytest.mark.parametrize(
    ("words", "remark"),
    [
        ("experiments=own data=line", "data: name, points of experiments/own.yaml left out; data=line was typed instead"),
        ("experiments=own ~scheduler", "scheduler: name, step_size of experiments/own.yaml left out; scheduler=null was typed instead"),
        ("experiments=base data=line", "data: flat of experiments/base.yaml left out; data=line was typed instead"),
        ("experiments=chosen", "data: flat of experiments/base.yaml left out; data=line was chosen instead"),
        ("experiments=own model=linear", "model: layers of experiments/own.yaml left out; model=linear was typed instead"),
        ("experiments=mine", "model.layers: those of experiments/mine.yaml are the whole model, though flatten could be"),
        ("experiments=head", ""),
        ("experiments=unlisted", ""),
    ],
)  # fmt: skip
def test_what_is_left_out_of_a_study_is_said(words: str, remark: str, there: Path) -> None:
    with composing.hydra():
        composing.settings(*words.split())
        assert remark in "\n".join(studies.remarks)
        assert bool(remark) == bool(studies.remarks)


def test_the_place_of_a_value_is_the_file_that_sets_it(there: Path) -> None:
    (there / "experiments" / "base.yaml").write_text(FILES["base"] + "trainer: {epochs: -1}\n")
    with composing.hydra():
        assert "(experiments/base.yaml:4)" in composing.problem("experiments=head")
