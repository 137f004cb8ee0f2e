"""Losses of several outputs, losses with named parts, and of (model, batch): exact, and known before training."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.data import Data, Tensors, nests, order_of
from runner.settings.errors import ConfigError
from runner.tracking.identity import data_facts
from runner.training import finish, measure
from runner.training.checking import targets
from runner.training.drive import drive
from runner.training.events import Artifacts
from runner.training.loop import train
from runner.training.parts import own_losses
from runner.training.parts.named import ByOutput
from runner.training.run import Run
from tests.conftest import Start

OWN = """
import torch
from torch import nn
from runner.data import Data, Tensors
from tests.support.on_disk import OnDisk


def tasks(points: int = 60) -> Data:
    draw = torch.Generator().manual_seed(0)
    def part(n):
        x = torch.randn(n, 4, generator=draw)
        return Tensors({"left": x[:, :2], "right": x[:, 2:]}, {"kind": (x.sum(1) > 0).long(), "sum": x.sum(1, True)})
    return Data(part(points), part(25), part(10))


def read(points: int = 60) -> Data:
    data = tasks(points)
    return Data(OnDisk(data.train), OnDisk(data.valid), OnDisk(data.test), classes={"kind": ("no", "yes")})


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.sum = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 1)
    def forward(self, x):
        hidden = self.body(torch.cat([x["left"], x["right"]], 1)).relu()
        return {"kind": self.kind(hidden), "sum": self.sum(hidden)}


def parts(output, target, beta: float = 0.5):
    return {"loss": ((output - target) ** 2).mean() + beta * output.abs().mean(), "size": output.abs().mean()}


def whole(output, target):
    return nn.functional.cross_entropy(output["kind"], target["kind"]) + (output["sum"] - target["sum"]).abs().mean()


def slope(model, batch):
    x = batch[0].detach().requires_grad_()
    y = model(x)
    (d,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return {"loss": ((y - batch[1]) ** 2).mean() + 0.1 * (d**2).mean(), "slope": (d**2).mean()}


def triples() -> Data:
    draw = torch.Generator().manual_seed(0)
    def part(n):
        return Tensors(tuple(torch.randn(n, 4, generator=draw) for _ in range(3)), torch.zeros(n))
    return Data(part(20), part(10))


def triplet(model, batch, margin: float = 1.0):
    (anchor, positive, negative), _ = batch
    return nn.functional.triplet_margin_loss(model(anchor), model(positive), model(negative), margin=margin)


class Plain(nn.Module):
    def forward(self, model, batch):
        return ((model(batch[0]) - batch[1]) ** 2).mean()


def vector(model, batch):
    return (model(batch[0]) - batch[1]) ** 2


def nameless(output, target):
    return {"kl": output.mean()}


def alone(output):
    return output.mean()
"""

TASKS: dict[str, Any] = {
    "data": {"name": "experiments.named.tasks"},
    "layers": ["experiments.named.Model"],
    "loss": {"kind": "CrossEntropyLoss", "sum": {"name": "MSELoss", "share": 0.25}},
    "metrics": {"kind": ["Accuracy"], "sum": {"error": "MeanAbsoluteError"}},
    "batch_size": 16,
}


@pytest.fixture(autouse=True)
def own(experiments: Path) -> None:
    (experiments / "named.py").write_text(OWN)


def trained(run: Run) -> list[Any]:
    return list(train(run.state, run.batches(), run.step))


def test_losses_of_outputs_are_trained_as_their_sum(start: Start) -> None:
    run = start(**TASKS)
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    steps = trained(run)
    again = start(**TASKS)
    for step, [(_, (x, y))] in zip(steps, again.batches(), strict=True):
        output = model(x)
        kind = nn.functional.cross_entropy(output["kind"], y["kind"])
        total = kind + 0.25 * nn.functional.mse_loss(output["sum"], y["sum"])
        assert step.read() == float(total.detach())
        assert float(dict(step.others)["kind/loss"]) == float(kind.detach())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), run.model.parameters(), strict=True))


@pytest.mark.parametrize("source", ["tasks", "read"])
def test_values_of_a_validation_are_those_of_all_examples_at_once(start: Start, source: str) -> None:
    run = start(**{**TASKS, "data": {"name": f"experiments.named.{source}"}})
    values = measure.validate(run)
    whole = run.data.valid
    assert whole is not None
    x, y = nests.picked(start(**TASKS).data.valid.x, slice(None)), start(**TASKS).data.valid.y
    with torch.no_grad():
        output = run.model.eval()(x)
    kind, error = nn.functional.cross_entropy(output["kind"], y["kind"]), output["sum"] - y["sum"]
    expected = {
        "valid/loss": kind + 0.25 * (error**2).mean(),
        "valid/kind/loss": kind,
        "valid/sum/loss": (error**2).mean(),
        "valid/kind/Accuracy": (output["kind"].argmax(1) == y["kind"]).float().mean(),
        "valid/sum/error": error.abs().mean(),
    }
    assert values.keys() == expected.keys()
    assert values == pytest.approx({name: float(value) for name, value in expected.items()})


def test_ignored_targets_of_one_output_count_in_no_batch(start: Start) -> None:
    loss = {"kind": {"name": "CrossEntropyLoss", "weight": [1.0, 3.0]}, "sum": "MSELoss"}
    few, many = (measure.validate(start(**{**TASKS, "loss": loss, "eval_batch_size": size})) for size in (3, 25))
    assert few == pytest.approx(many)


def test_what_the_loss_of_an_output_ignores_is_no_class_of_it() -> None:
    y = {"kind": torch.tensor([0, 2, 1]), "sum": torch.rand(3, 1)}
    for ignored in (255, -1, -100):
        held = {**y, "kind": torch.where(y["kind"] == 2, ignored, y["kind"])}
        losses = {"kind": nn.CrossEntropyLoss(ignore_index=ignored), "sum": nn.MSELoss()}
        loss = ByOutput(losses, dict.fromkeys(losses, 1.0))
        data = targets.fit(Data(Tensors(torch.rand(3, 4), held)), loss)
        assert (data.task, data.classes["kind"]) == ({"kind": "binary", "sum": "regression"}, ("0", "1"))
        assert data.ignored == {"kind": ignored, "sum": None}


def test_a_whole_training_records_all_parts(start: Start) -> None:
    run = start(**TASKS, monitor="valid/kind/Accuracy", epochs=2)
    drive(run)
    names = {f"{part}/{name}" for part in ("train", "valid", "test") for name in ("loss", "kind/loss", "sum/loss")}
    assert names <= run.history.keys() | set(run.last_values())
    assert run.best.mode == "max"
    [files] = [event.folder for event in finish.finish(run, finish.draw) if isinstance(event, Artifacts)][:1]
    assert (files / "predictions.npz").exists()


def test_named_parts_of_a_loss_are_weighed_over_batches_and_accumulated(start: Start) -> None:
    spec = {"name": "experiments.named.parts", "beta": 2.0}
    few, many = (measure.validate(start(loss=spec, eval_batch_size=size)) for size in (7, 40))
    assert few == pytest.approx(many)
    assert few.keys() == {"valid/loss", "valid/size"}
    whole, halves = (
        trained(start(loss=spec, epochs=1, **sizes)) for sizes in ({}, {"batch_size": 32, "accumulate": 2})
    )
    assert halves[0].read() == pytest.approx(whole[0].read())
    assert float(dict(halves[0].others)["size"]) == pytest.approx(float(dict(whole[0].others)["size"]))


def test_one_loss_may_take_all_outputs(start: Start) -> None:
    run = start(**{**TASKS, "loss": {"name": "experiments.named.whole"}})
    assert trained(run)
    assert measure.validate(run).keys() == {"valid/loss", "valid/kind/Accuracy", "valid/sum/error"}


@pytest.mark.parametrize(("name", "needs"), [("slope", True), ("Plain", False)])
def test_a_loss_of_model_and_batch_has_gradients_where_it_needs_them(start: Start, name: str, needs: bool) -> None:
    run = start(loss={"name": f"experiments.named.{name}"}, metrics=["MeanAbsoluteError"], batch_size=16)
    assert own_losses.found(run.loss).gradients is needs
    trained(run)
    values = measure.validate(run)
    assert ("valid/slope" in values) == needs
    y, output = measure.outputs(run, run.data.valid)  # type: ignore[arg-type]
    assert values["valid/MeanAbsoluteError"] == pytest.approx(float((y - output).abs().mean()))
    assert not output.requires_grad


def test_a_resumed_run_goes_on_with_the_same_bits(start: Start) -> None:
    whole, first, rest = (start(**TASKS, epochs=2) for _ in range(3))
    expected = [step.read() for step in trained(whole)]
    steps = train(first.state, first.batches(), first.step)
    taken = [next(steps).read() for _ in range(3)]
    rest.load_state_dict(first.model.state_dict(), first.state_dict())
    assert [*taken, *(step.read() for step in trained(rest))] == expected


@pytest.mark.parametrize("name", ["vector", "nameless", "alone"])
def test_a_loss_that_gives_no_number_is_refused_before_training(start: Start, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        start(loss={"name": f"experiments.named.{name}"})


def test_a_captured_step_of_several_tensors_takes_the_same_steps(start: Start) -> None:
    runs = [
        start(**{**TASKS, "loss": {"name": "experiments.named.whole"}}, epochs=20, graph=graph)
        for graph in (True, False)
    ]
    captured, plain = (([step.read() for step in trained(run)], run) for run in runs)
    assert captured[0] == plain[0]
    assert captured[1].step.captured, captured[1].step.reason


def test_a_model_that_its_loss_calls_with_each_tensor_is_planned_with_the_first(start: Start) -> None:
    loss, data = {"name": "experiments.named.triplet"}, {"name": "experiments.named.triples"}
    run = start(data=data, layers=[{"Linear": 8}, "ReLU", {"Linear": 3}], loss=loss, epochs=1)
    assert measure.validate(run).keys() == {"valid/loss"}
    x = run.data.valid.x
    assert torch.equal(run.model(x), run.model(x[0]))
    assert data_facts(run.data, run.stack.first)["example"] == {"shape": [4], "dtype": "float32"}
    with pytest.raises(ConfigError, match=r"^model.layers"):  # another loss takes what the model gives for all of them
        start(data=data, layers=[{"Linear": 8}], loss={"name": "MSELoss"})


@pytest.mark.parametrize("more", [{}, {"batch_size": 4, "accumulate": 4}])
def test_training_batches_of_several_outputs_are_measured_one_by_one(start: Start, more: dict[str, Any]) -> None:
    metrics = {"kind": ["Accuracy"], "sum": {"error": "MeanSquaredError"}}
    run = start(**{**TASKS, "metrics": metrics, "epochs": 2, "train_metrics": True, **more})
    model, expected = copy.deepcopy(run.model), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = run.data.train.x, run.data.train.y
    for epoch in range(2):
        right, error = 0.0, 0.0
        for index in order_of(60, run.settings.seed, epoch).split(16):
            output = model({name: one[index] for name, one in x.items()})
            kind, size = y["kind"][index], y["sum"][index]
            right += float((output["kind"].argmax(1) == kind).sum())
            error += float(((output["sum"] - size) ** 2).sum().detach())
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(output["kind"], kind)
            (loss + 0.25 * nn.functional.mse_loss(output["sum"], size)).backward()
            optimizer.step()
        expected.append((right / 60, error / 60))
    drive(run)
    found = zip(run.history["train/kind/Accuracy"], run.history["train/sum/error"], strict=True)
    for (right, error), ((_, accuracy), (_, squared)) in zip(expected, found, strict=True):
        assert (accuracy, squared) == pytest.approx((right, error), rel=1e-5)
    names = {name.removeprefix("train/") for name in run.history if name.startswith("train/")}
    assert names == {"loss", "kind/loss", "sum/loss", "kind/Accuracy", "sum/error"}
