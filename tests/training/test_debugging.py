"""Runs that are looked into: what is found in planted cases, and nothing where nothing is wrong."""

import contextlib
import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.settings import Model
from runner.settings.errors import Failure
from runner.training.debugging import rates
from runner.training.drive import drive
from runner.training.events import Artifacts, Event
from runner.training.finite import Diverged
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.conftest import settings

DIGITS: dict[str, Any] = {"data": {"name": "digits"}, "loss": {"name": "CrossEntropyLoss"}, "batch_size": 32}
MLP: list[Any] = ["Flatten", {"Linear": 32}, "ReLU", {"Linear": 10}]
DEAD = Model(layers=[*MLP[:3], {"Linear": 10}], init={"1.bias": {"constant_": {"val": -100}}})
ADAM = {"name": "Adam", "lr": 0.01}


class Root(nn.Module):
    """Finite where its input is 0, and its gradient there is infinity times 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x * 0) * x


class Log(nn.Module):
    """NaN below 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


class Found:
    """What was found, as a program reads it in the artifact."""

    def __init__(self) -> None:
        self.plain: dict[str, Any] = {}

    def record(self, event: Event) -> None:
        if isinstance(event, Artifacts) and (folder := event.folder / "debug").is_dir():
            [path] = folder.glob("*.json")
            self.plain = json.loads(path.read_text())


def driven(kind: str, failing: bool = False, **more: Any) -> tuple[Run, Found, str]:
    run, found, message = prepare(settings(**{"debug": kind, **more}), "test"), Found(), ""
    try:
        drive(run, found)
    except Failure as error:
        message = str(error)
    finally:
        run.close()
    assert bool(message) == failing, message
    return run, found, message


ONE_BATCH: dict[str, Any] = {"epochs": None, "steps": 80, "limit_batches": 1, "validate_every": "20 steps"}


def test_a_batch_is_learned_and_the_run_ends_there() -> None:
    run, found, _ = driven("overfit", **ONE_BATCH, **DIGITS, layers=MLP, optimizer=ADAM)
    x, y = run.data.train.x, run.data.train.y
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(run.model.eval()(x), y)
    assert found.plain["learned"]
    assert found.plain["steps"] == run.state.step < 80
    assert found.plain["last"] == pytest.approx(float(loss))
    assert loss <= 0.05 * found.plain["first"]
    assert run.stopped == f"one batch is learned after {run.state.step} steps"


@pytest.mark.parametrize(
    ("more", "cause", "layer"),
    [
        ({**DIGITS, "layers": MLP, "optimizer": {"name": "Adam", "lr": 1e-7}}, "rate", None),
        ({**DIGITS, "layers": MLP, "optimizer": {"name": "SGD", "lr": 1e9}}, "rate", None),
        ({**DIGITS, "model": DEAD, "optimizer": ADAM}, "dead layer", "2"),
        ({**DIGITS, "layers": [*MLP, {"Softmax": {"dim": 1}}], "steps": 20}, "output range", "4"),
        ({"layers": [{"Linear": 8}, "Tanh", {"Linear": 1}, "Sigmoid"]}, "output range", "3"),
        (
            {**DIGITS, "layers": MLP, "optimizer": {**ADAM, "weight_decay": 1.0}},
            "regularization",
            None,
        ),
        ({"data": {"name": "values", "x": [[1.0], [1.0]], "y": [0.0, 1.0]}}, "contradiction", None),
    ],
)
def test_the_likeliest_reason_is_the_planted_one(more: dict[str, Any], cause: str, layer: str | None) -> None:
    _, found, message = driven("overfit", failing=True, **(ONE_BATCH | {"batch_size": 13} | more))
    if found.plain:  # a training that diverges ends before its artifacts
        first = found.plain["reasons"][0]
        assert (first["cause"], first["layer"]) == (cause, layer)
    assert {"rate": "learning rate", "contradiction": "a different target"}.get(
        cause, "layer" if layer else ""
    ) in message


def test_trials_leave_the_run_as_it_was() -> None:
    slow = {**DIGITS, "layers": MLP, "optimizer": {"name": "Adam", "lr": 1e-7}}
    run, _, _ = driven("overfit", failing=True, **ONE_BATCH, **slow)
    other, _, _ = driven("fast", **ONE_BATCH, **slow)
    for one, same in zip(run.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, same)
    assert run.state.step == other.state.step == 80
    assert run.state.optimizer.param_groups[0]["lr"] == 1e-7


@pytest.mark.parametrize(
    ("kind", "where", "more"),
    [
        (Log, "forward", "what went into it reaches from -"),
        (Root, "backward", "MulBackward0, a part of it, returned NaN"),
    ],
)
def test_the_layer_of_the_first_nan_is_named(
    kind: type[nn.Module], where: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNER_TRUST", "tests")
    layers = [{"Linear": 4}, "Tanh", {f"{__name__}.{kind.__name__}": None}, {"Linear": 1}]
    run, _, message = driven("anomaly", failing=True, layers=layers)
    assert message.startswith(f"debug=anomaly: layer '2' ({kind.__name__}) gives NaN in its {where} at step 1: {more}")
    assert run.debugging.found["layer"] == f"layer '2' ({kind.__name__})"
    assert not torch.is_anomaly_enabled()


def test_a_training_without_nan_has_the_same_bits_when_it_is_watched() -> None:
    watched, found, _ = driven("anomaly", **DIGITS, layers=MLP)
    plain, _, _ = driven("fast", **DIGITS, layers=MLP)
    assert found.plain == {"steps": watched.state.step, "layer": None, "pass": None, "infinite": None}
    assert list(watched.history["train/loss"]) == list(plain.history["train/loss"])


def test_the_parts_of_a_step_and_its_operations_are_timed() -> None:
    run, found, _ = driven("profile", epochs=None, steps=31, validate_every="31 steps", **DIGITS, layers=MLP)
    plain = found.plain
    assert plain["steps"] == 10
    assert list(plain["seconds"]) == ["data", "forward", "backward", "optimizer", "record"]
    assert min(plain["seconds"].values()) > 0
    assert {one["name"] for one in plain["layers"]} == {"0", "1", "2", "3"}
    calls = {one["name"]: one["calls"] for one in plain["operations"]}
    assert calls["aten::addmm"] == 2  # of each step: that of the validation is no part of it
    assert {one: calls.get(one) for one in plain["seconds"]} == dict.fromkeys(plain["seconds"])  # marks are none
    assert run.debugging.lines()[0].startswith("debug=profile: a step takes ")
    assert not run.model._forward_hooks


def test_learning_rates_are_tested_on_the_steps_of_a_training() -> None:
    run = prepare(rates.settings(settings(**DIGITS, layers=MLP, optimizer={"name": "SGD", "lr": 3.0}), 20), "test")
    run.close()
    model, own = copy.deepcopy(run.model), list(run.batches())
    tested = [(rate, event.read()) for rate, event in rates.tested(run, 1e-4, 1e-1)]
    expected = []
    for i, [(_, (x, y))] in enumerate(own):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        rate = 1e-4 * 1000 ** (i / 19)
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
        expected.append((rate, loss.item()))
    assert len(tested) == 20
    torch.testing.assert_close(torch.tensor(tested), torch.tensor(expected))


def test_the_suggested_rate_is_the_steepest_of_a_curve() -> None:
    numbers = np.geomspace(1e-6, 10, 200)
    falls = 1 - 1 / (1 + np.exp(-4 * np.log(numbers / 1e-3))) + np.exp(4 * np.log(numbers / 0.5))  # steepest at 1e-3
    found = rates.found(numbers.tolist(), falls.tolist())
    lag = numbers[9] / numbers[0]  # of a mean of about 10 losses
    assert 1e-3 < found["suggestion"] < 1e-3 * lag**1.5
    assert found["suggestion"] < found["least"] < 0.5
    assert rates.found(numbers.tolist(), [1.0] * 200)["suggestion"] is None
    assert rates.found([1.0, 2.0], [1.0, float("nan")])["losses"] == [1.0, None]


DEEP: list[Any] = ["Flatten", *([{"Linear": 16}, "Sigmoid"] * 20), {"Linear": 10}]


@pytest.mark.parametrize(
    ("more", "kind", "layer"),
    [
        ({"layers": DEEP}, "vanishing", "1"),
        ({"layers": MLP, "optimizer": {"name": "SGD", "lr": 1e3}}, "exploding", None),
        ({"model": DEAD}, "dead", "1"),
    ],
)
@pytest.mark.parametrize("graph", [False, True])
def test_planted_faults_are_warned_of_once_with_the_layer(
    more: dict[str, Any], kind: str, layer: str | None, graph: bool
) -> None:
    run = prepare(settings(**{"epochs": None, "steps": 40, "graph": graph, **DIGITS, **more}), "test")
    said: list[str] = []
    run.health.say = said.append
    with contextlib.suppress(Diverged):
        drive(run)
    run.close()
    assert [(one["kind"], one["layer"]) for one in run.health.found] == [(kind, layer)]
    assert said == [f"warning: {run.tags['warnings']}"]


def test_a_healthy_training_is_not_warned_of() -> None:
    for layers in (MLP, ["Flatten", *([{"Linear": 32}, "BatchNorm1d", "ReLU"] * 8), {"Linear": 10}]):
        run, _, _ = driven("fast", epochs=None, steps=130, **DIGITS, layers=layers, optimizer=ADAM)
        assert run.health.found == []
