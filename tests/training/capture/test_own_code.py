"""Code of one's own under trainer.graph=true: its steps are those of trainer.graph=false, captured or not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from runner.settings import Component
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.training.capture import choice
from runner.training.drive import advance
from runner.training.events import Event, Step
from runner.training.prepare import prepare
from tests.conftest import settings
from tests.training.capture.test_step import same, trained

MINE = '''
import random

import numpy
import torch
from torch import nn

FACTOR = [1]


class Skips(nn.Module):
    def forward(self, x):
        return x * 2 if self.training and random.random() < 0.5 else x


class Draws(nn.Module):
    def forward(self, x):
        return x * float(numpy.random.rand()) if self.training else x


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return x * (1 + self.calls // 10)


class Generates(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x):
        return x if x.is_meta or not self.training else x * torch.rand(x.shape, generator=self.generator)


class Averages(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(())

    def forward(self, x):
        if self.training and not x.is_meta:
            self.mean.mul_(0.9).add_(x.detach().mean())
        return x if x.is_meta else x * (1 + self.mean)


class Replaces(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + x.detach().mean()
        return x * (1 + self.mean)


class Clamps(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        if not x.is_meta:
            self.weight.data = self.weight.data.clamp(0.5, 1.001)
        return x * self.weight


class Computes(nn.Module):
    def forward(self, x):
        return x if x.is_meta else x * float(1 + numpy.abs(x.detach().numpy()).mean())


class Lists(nn.Module):
    def forward(self, x):
        return x if x.is_meta or sum(x.detach().flatten().tolist()) < 0 else x * 2


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole, self.rest = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.whole(x) if len(x) == 8 else self.rest(x)


class Doubles(nn.Module):
    def forward(self, x):
        return x.mul_(2)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat))

    def forward(self, x):
        z = x.to(torch.cfloat) @ self.weight
        return (z * z.conj()).real + (z @ self.weight.conj().T).imag


class AlwaysDrops(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.3, True)


class Late(nn.Module):
    def forward(self, x):
        return x * FACTOR[0]


class Scaled(nn.Module):
    """A loss that is divided by its own average."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, output, target):
        loss = nn.functional.mse_loss(output, target)
        if torch.is_grad_enabled():
            self.mean.mul_(0.9).add_(loss.detach())
        return loss / self.mean


class Warms(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, output, target):
        self.calls += torch.is_grad_enabled()
        return nn.functional.mse_loss(output, target) * min(1.0, self.calls / 30)


class Slows(torch.optim.SGD):
    """Counts its steps in its groups and in an attribute, and takes ever smaller ones."""

    taken = 0

    def step(self, closure=None):
        self.taken += 1
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"] / group["taken"])


class Groups(Slows):
    def step(self, closure=None):
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"] / group["taken"])
'''

#: A layer -> the reason why its steps are not captured; "" if they are.
LAYERS = {
    "Skips": "it draws random numbers of Python or NumPy",
    "Draws": "it draws random numbers of Python or NumPy",
    "Counts": "it changes Counts.calls",
    "Generates": "it changes Generates.generator",
    "Averages": "it changes Averages.mean",
    "Replaces": "it gives a parameter or a buffer other memory",
    "Clamps": "it gives a parameter or a buffer other memory",
    "Computes": "it computes with NumPy",
    "Lists": "it reads numbers from a tensor",
    "Branches": "",
    "Doubles": "",
    "Complex": "",
    "AlwaysDrops": "",
}
ADAM: Component = {"name": "Adam", "lr": 0.01}


@pytest.fixture(autouse=True)
def mine(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/owned.py").write_text(MINE)
    use_folder(tmp_path / "experiments")


def both(reason: str, **changes: Any) -> None:
    """Train without and with graphs, which has to be the same to the last bit, random states included."""
    given = {"data": {"name": "line", "points": 53, "valid": 11}, "optimizer": ADAM, "batch_size": 8, "epochs": 8}
    plain, captured = (
        trained(prepare(settings(**{**given, **changes, "graph": graph}), "test")) for graph in (False, True)
    )
    same(plain, captured)
    assert repr(plain.random_state()) == repr(captured.random_state())
    assert choice.described(captured.step).startswith(f"as it is: {reason}" if reason else "captured")


@pytest.mark.parametrize("optimizer", ["Adam", "NAdam"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_what_it_is_without_graphs(layer: str, optimizer: str):
    layers = [{"Linear": 4}, f"experiments.owned.{layer}", "Tanh", {"Linear": 1}]
    both(LAYERS[layer], layers=layers, optimizer={"name": optimizer, "lr": 0.01})


def test_a_layer_that_writes_into_the_batch_is_captured():
    both("", layers=["experiments.owned.Doubles", {"Linear": 4}, "Tanh", {"Linear": 1}])


@pytest.mark.parametrize(("loss", "reason"), [("Scaled", ""), ("Warms", "it changes Warms.calls")])
def test_so_is_a_loss(loss: str, reason: str):
    both(reason, layers=[{"Linear": 4}, "Tanh", {"Linear": 1}], loss={"name": f"experiments.owned.{loss}"})


@pytest.mark.parametrize(("optimizer", "reason"), [("Groups", ""), ("Slows", "it changes Slows.taken")])
def test_so_is_an_optimizer(optimizer: str, reason: str):
    both(reason, optimizer={"name": f"experiments.owned.{optimizer}", "lr": 0.1})


class Changes:
    """An observer that changes a number which a layer reads."""

    def record(self, event: Event) -> None:
        if isinstance(event, Step) and event.step == 20:
            sys.modules["experiments.owned"].FACTOR[0] = 2


def test_what_shows_only_later_ends_the_run():
    """A number outside of the layer is another one when a step is taken both ways again."""
    layers, data = [{"Linear": 4}, "experiments.owned.Late", {"Linear": 1}], {"name": "line", "points": 64}
    run = prepare(settings(layers=layers, batch_size=8, epochs=20, graph=True, data=data), "test")
    with pytest.raises(ConfigError, match=r"code of your own .* trainer.graph=false"):
        advance(run, [Changes()])
    assert run.state.step == 31
    run.close()


def test_draws_of_torch_are_captured():
    """The control: not every draw is refused."""
    both("", layers=[{"Linear": 4}, {"Dropout": 0.3}, {"Linear": 1}])
