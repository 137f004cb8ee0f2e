"""The captured step: every number is that of the step as it is."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings.values.lookup import use_folder
from runner.training.capture import choice, proof
from runner.training.capture.step import CapturedStep
from runner.training.drive import advance
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from tests.conftest import settings

LAYERS: dict[str, Any] = {
    "dropout": [{"Linear": 6}, "ReLU", {"Dropout": 0.4}, {"Linear": 1}],
    "batchnorm": [{"Linear": 6}, "BatchNorm1d", "ReLU", {"Linear": 1}],
}
OPTIMIZERS: dict[str, Any] = {
    "momentum": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
    "adam": {"name": "Adam", "lr": 0.01},
    "adamw": {"name": "AdamW", "lr": 0.01, "amsgrad": True},
    "rmsprop": {"name": "RMSprop", "lr": 0.01},
    "nadam": {"name": "NAdam", "lr": 0.01},
    "fused": {"name": "Adam", "lr": 0.01, "fused": True},
}
MORE: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged": {"batch_size": 9},
    "accumulate": {"accumulate": 3, "batch_size": 8},
    "clip": {"clip_norm": 0.1, "clip_value": 0.05},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "fp64": {"precision": "fp64"},
    "one cycle": {"scheduler": {"name": "OneCycleLR", "max_lr": 0.1, "interval": "step"}},
    "plateau": {"scheduler": {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}},
    "whole": {"batch_size": None, "epochs": 12},
}


def made(graph: Any, layers: Any = "dropout", optimizer: str = "adam", **more: Any) -> Run:
    chosen = settings(
        layers=LAYERS.get(layers, layers) if isinstance(layers, str) else layers,
        data={"name": "line", "points": 48, "valid": 10},
        optimizer=OPTIMIZERS[optimizer],
        **{"batch_size": 8, "epochs": 6, "graph": graph, **more},
    )
    return prepare(chosen, "test")


def trained(run: Run) -> Run:
    advance(run, (run.recorder,))
    run.close()
    return run


def same(one: Run, other: Run) -> None:
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert one.history.keys() == other.history.keys()
    for name, points in one.history.items():
        assert list(map(repr, points)) == list(map(repr, other.history[name])), name
    for own, others in zip(one.state.optimizer.state.values(), other.state.optimizer.state.values(), strict=True):
        for name, value in own.items():
            assert not isinstance(value, torch.Tensor) or torch.equal(value, others[name]), name


@pytest.mark.parametrize(
    ("layers", "optimizer", "more"),
    [*itertools.product(LAYERS, ["adam", "momentum"], MORE), *itertools.product(["dropout"], OPTIMIZERS, ["ragged"])],
)
def test_captured_is_as_it_is(layers: str, optimizer: str, more: str):
    plain, captured = (trained(made(graph, layers, optimizer, **MORE[more])) for graph in (False, True))
    assert choice.described(captured.step) == "captured"
    assert isinstance(captured.step, CapturedStep)
    assert captured.step.captured == (2 if more == "ragged" else 1)
    same(plain, captured)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "nadam"])
def test_a_run_goes_on_from_a_checkpoint_of_either(optimizer: str):
    plain = trained(made(False, optimizer=optimizer, batch_size=9))
    for first, second in itertools.product((False, True), repeat=2):
        begun, going_on = (made(graph, optimizer=optimizer, batch_size=9) for graph in (first, second))
        begun.settings.trainer.epochs = 4
        trained(begun)
        going_on.load_state_dict(checkpoint.copy(begun.model), begun.state_dict())
        trained(going_on)
        for name, value in plain.model.state_dict().items():
            assert torch.equal(value, going_on.model.state_dict()[name]), (first, second, name)


def test_a_checkpoint_that_is_loaded_under_way_is_gone_on_from():
    plain, other = trained(made(False)), made(True)
    begun = made(True)
    weights, state = checkpoint.copy(begun.model), begun.state_dict()
    trained(other)
    assert isinstance(other.step, CapturedStep)
    assert other.step.captured
    other.load_state_dict(weights, state)
    trained(other)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_gradients_are_those_of_the_last_step():
    plain, captured = (trained(made(graph, "batchnorm", batch_size=9)) for graph in (False, True))
    for one, other in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


MINE = '''
import torch
from torch import nn


class Counts(nn.Module):
    """Does something else at each call, which torch cannot see."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return x * (1 + self.calls % 5)


class Reads(nn.Module):
    def forward(self, x):
        return x if x.is_meta or x.mean().item() < 0 else x * 2
'''


@pytest.fixture
def mine(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.py").write_text(MINE)
    use_folder(tmp_path / "experiments")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("layer", "reason"), [("Counts", "it changes Counts.calls"), ("Reads", "it reads a number from a tensor")]
)
def test_what_cannot_be_captured_runs_as_it_is(layer: str, reason: str):
    layers = [{"Linear": 4}, f"experiments.mine.{layer}", {"Linear": 1}]
    captured = trained(made(True, layers))
    assert choice.described(captured.step).startswith(f"as it is: {reason}")
    same(trained(made(False, layers)), captured)


@pytest.mark.usefixtures("mine")
def test_layers_of_ones_own_are_captured_only_if_asked_for():
    layers = [{"Linear": 4}, "experiments.mine.Reads", {"Linear": 1}]
    run = trained(made("auto", layers, epochs=20))
    assert "Reads is of your own" in choice.described(run.step)


def test_a_short_run_is_not_captured():
    assert "steps" in choice.described(trained(made("auto")).step)
    assert choice.described(trained(made("auto", epochs=20)).step) == "captured"


def test_a_shape_that_comes_too_seldom_is_not_captured():
    """As the last batch of an epoch; it is if all are asked for, and where it comes often enough."""
    for graph, epochs, captured in (("auto", 20, 1), (True, 20, 2), ("auto", 80, 2)):
        run = trained(made(graph, epochs=epochs, batch_size=10))
        assert (run.steps, run.step.captured) == (5 * epochs, captured)


def test_a_record_says_how_steps_were_taken():
    run = made(True)
    assert choice.described(run.step) == ""  # one of many as one program takes none itself
    few = trained(made(True, batch_size=None, epochs=2))
    assert choice.described(few.step) == "as it is: no shape of batches came often enough"
    assert choice.described(trained(made(False)).step) == "as it is: trainer.graph=false"


def _copies(tensors: list[torch.Tensor]) -> proof.Copies:
    return proof.Copies(tensors, ["weights", "exp_avg", "step"], [], [], {}, {})


@pytest.mark.parametrize(("moved", "near"), [(1.0, True), (1.001, True), (0.0, False), (-1.0, False), (2.0, False)])
def test_where_sums_are_in_any_order_a_step_comes_about_as_far(moved: float, near: bool):
    start, mean, change = torch.rand(50), torch.rand(50), torch.rand(50) / 1000
    before = _copies([start, mean, torch.tensor(4.0)])
    after = _copies([start + change, mean + change, torch.tensor(5.0)])
    for shares in ((moved, 1.0), (1.0, moved)):
        both = [start + change * shares[0], mean + change * shares[1]]
        assert _copies([*both, torch.tensor(5.0)]).near(after, before) == near
        assert not _copies([*both, torch.tensor(4.0)]).near(after, before)


def test_nan_is_near_nan_alone():
    numbers = torch.tensor([1.0, float("nan")])
    assert proof.close(numbers, numbers + 1e-6)
    assert not proof.close(numbers, torch.ones(2))
    assert not proof.close(torch.ones(2), numbers)
