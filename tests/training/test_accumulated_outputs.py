"""Laws of several losses: batches of one step are, output by output, one batch of as many examples."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.data import nests, order_of
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.run import Run
from tests.conftest import Start

OWN = """
import torch
from torch import nn
from runner.data import Data, Tensors
from tests.support.on_disk import OnDisk


def part(n, draw, form):
    x = torch.randn(n, 4, generator=draw)
    kind = torch.randint(3, (n,), generator=draw)
    kind[torch.rand(n, generator=draw) < 0.5] = -1
    size = x.sum(1, True) + torch.randn(n, 1, generator=draw)
    if form == "one":
        return Tensors(x, kind)
    return Tensors(x, {"kind": kind, "size": size} if form == "names" else (kind, size))


def memory(form="names"):
    draw = torch.Generator().manual_seed(3)
    return Data(part(29, draw, form), part(17, draw, form), part(5, draw, form))


def disk():
    data = memory()
    classes = {"kind": ("a", "b", "c")}
    return Data(OnDisk(data.train), OnDisk(data.valid), OnDisk(data.test), classes=classes)


class Model(nn.Module):
    names = ("kind", "size")
    def __init__(self):
        super().__init__()
        self.body, self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, self.size)
    size = 1
    def forward(self, x):
        hidden = self.body(x).tanh()
        both = self.first(hidden), self.second(hidden)
        return dict(zip(self.names, both)) if self.names else both


class Places(Model):
    names = ()


class Exits(Model):
    size = 3


class Far(nn.Module):
    def forward(self, output, target):
        off = (output - target).abs().mean()
        return {"loss": off + 0.1 * output.square().mean(), "off": off}


def step(state, parts):
    state.optimizer.zero_grad()
    total = 0
    for share, batch in parts:
        loss = state.cost(state.model, batch)[0] * share
        loss.backward()
        total = total + loss.detach()
    state.optimizer.step()
    return total
"""

CLASS: dict[str, Any] = {"name": "CrossEntropyLoss", "ignore_index": -1}
WEIGHED = {**CLASS, "weight": [0.5, 2.0, 3.0], "label_smoothing": 0.1}
#: (data, model, losses): the second loss is a mean, a sum, one of several parts, or of the same targets.
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "ignored": ({"name": "memory"}, "Model", {"kind": CLASS, "size": "MSELoss"}),
    "weighed": ({"name": "memory"}, "Model", {"kind": WEIGHED, "size": {"name": "L1Loss", "share": 0.25}}),
    "sum": ({"name": "memory"}, "Model", {"kind": WEIGHED, "size": {"name": "MSELoss", "reduction": "sum"}}),
    "sums": ({"name": "memory"}, "Model", {"kind": {**CLASS, "reduction": "sum"}, "size": "HuberLoss"}),
    "parts": ({"name": "memory"}, "Model", {"kind": WEIGHED, "size": {"name": "experiments.several.Far"}}),
    "disk": ({"name": "disk"}, "Model", {"kind": WEIGHED, "size": "MSELoss"}),
    "places": ({"name": "memory", "form": "places"}, "Places", {"0": WEIGHED, "1": "MSELoss"}),
    "exits": ({"name": "memory", "form": "one"}, "Exits", {"kind": WEIGHED, "size": {**CLASS, "share": 0.3}}),
}


@pytest.fixture(autouse=True)
def own(experiments: Path) -> None:
    (experiments / "several.py").write_text(OWN)


def prepared(start: Start, case: str, **changes: Any) -> Run:
    data, model, loss = CASES[case]
    source = {**data, "name": f"experiments.several.{data['name']}"}
    layers = [f"experiments.several.{model}"]
    given = {"precision": "fp64", "epochs": 2, "shuffle": True, "test_checkpoint": "last", "metrics": [], **changes}
    return start(data=source, layers=layers, loss=loss, **given)


def whole(source: Any) -> Any:
    return torch.utils.data.default_collate([source[i] for i in range(len(source))])


def torchs(spec: Any) -> tuple[nn.Module, float]:
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    share, name = given.pop("share", 1.0), given.pop("name")
    if "weight" in given:
        given["weight"] = torch.tensor(given["weight"]).double()
    return getattr(nn, name)(**given) if "." not in name else Far(), share


class Far(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean() + 0.1 * output.square().mean()


def by_torch(model: nn.Module, case: str, run: Run) -> tuple[dict[str, list[float]], nn.Module]:
    """The losses of training and of a validation, and the model, where every step has all its examples in one batch."""
    losses = {name: torchs(spec) for name, spec in CASES[case][2].items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = {name: list[float]() for name in ("loss", *(f"{name}/loss" for name in losses), "valid")}

    def cost(x: Tensor, y: Any) -> tuple[Tensor, dict[str, float]]:
        output, values, total = model(x.double()), {}, torch.zeros(())
        for place, (name, (loss, share)) in enumerate(losses.items()):
            out = output[name] if isinstance(output, dict) else output[place]
            target = y if isinstance(y, Tensor) else y[name] if isinstance(y, dict) else y[place]
            target = target.double() if target.is_floating_point() else target
            value = loss(out, target)
            if not value.isfinite():  # no target counts: torch divides by 0
                value = 0 * out.sum()
            values[f"{name}/loss"] = value.item()
            total = total + share * value
        return total, values

    x, y = whole(run.data.train)
    size = run.settings.trainer.batch_size * run.settings.trainer.accumulate
    for epoch in range(2):
        for index in order_of(len(x), run.settings.seed, epoch).split(size):
            optimizer.zero_grad()
            loss, values = cost(x[index], nests.picked(y, index))
            loss.backward()
            optimizer.step()
            for name, value in {"loss": loss.item(), **values}.items():
                found[name].append(value)
        with torch.no_grad():
            found["valid"].append(cost(*whole(run.data.valid))[0].item())
    return found, model


@pytest.mark.parametrize("sizes", [(1, 4), (4, 3)], ids=["ones", "fours"])
@pytest.mark.parametrize("case", CASES)
def test_accumulated_outputs_are_those_of_one_batch(start: Start, case: str, sizes: tuple[int, int]) -> None:
    """Single examples, of which half have no target that counts, and a last step of fewer batches than the others."""
    run = prepared(start, case, batch_size=sizes[0], accumulate=sizes[1], eval_batch_size=2)
    expected, model = by_torch(copy.deepcopy(run.model), case, run)
    drive(run)
    for name, values in expected.items():
        recorded = run.history["valid/loss" if name == "valid" else f"train/{name}"]
        assert [value for _, value in recorded] == pytest.approx(values, rel=1e-10, abs=1e-12), name
    for own, other in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(own.detach(), other.detach(), rtol=1e-9, atol=1e-11)


def test_parts_of_a_loss_by_output_add_up_too(start: Start) -> None:
    many, one = (prepared(start, "parts", batch_size=4 * k, accumulate=8 // k, shuffle=False, epochs=1) for k in (1, 8))
    drive(many), drive(one)
    assert many.history["train/size/off"][0][1] == pytest.approx(one.history["train/size/off"][0][1], rel=1e-10)


@pytest.mark.parametrize(("case", "why"), [("ignored", "ignored"), ("weighed", "weights"), ("sums", "is a sum")])
def test_a_step_of_ones_own_is_refused_what_its_one_share_cannot_say(start: Start, case: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer.accumulate: .*{why}.*trainer.step"):
        prepared(start, case, batch_size=4, accumulate=2, step="experiments.several.step")


def test_metrics_of_training_batches_are_named_as_those_of_a_validation(start: Start) -> None:
    metrics = {"kind": [{"each": {"Accuracy": {"average": "none"}}}], "size": ["MeanSquaredError"]}
    run = prepared(start, "disk", batch_size=4, accumulate=2, epochs=1, metrics=metrics, train_metrics=True)
    drive(run)
    train, valid = ({name[6:] for name in run.history if name.startswith(part)} for part in ("train/", "valid/"))
    assert train == valid
    assert "kind/each_b" in train
