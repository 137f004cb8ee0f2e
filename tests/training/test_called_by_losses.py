"""Models that their loss calls with more than the data's x, as those of diffusion; layers that index by a mask."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings.errors import ConfigError
from runner.tracking.read import export
from runner.training import measure
from runner.training.loop import train
from tests.conftest import Start
from tests.support.resumed import differences

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.time, self.net = nn.Embedding(5, 6), nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x, time=None, scale=1.0):
        time = x.new_zeros(x.shape[0]).long() if time is None else time
        return scale * self.net[2]((self.net[0](x) + self.time(time)).tanh())


class Needs(Net):
    def forward(self, x, time):
        return super().forward(x, time)


def noise(model, batch):
    x, _ = batch
    time, drawn = torch.randint(5, (len(x),)), torch.randn_like(x)
    return (model(x + time[:, None] * drawn, time, scale=2.0) - drawn).square().mean()


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x):
        y = torch.zeros_like(x)
        for chosen, expert in ((x[:, 0] < 0, self.low), (x[:, 0] >= 0, self.high)):
            y[chosen] = expert(x[chosen])
        return y
"""
DIFFUSION: dict[str, Any] = {"layers": ["experiments.called.Net"], "loss": {"name": "experiments.called.noise"}}


@pytest.fixture(autouse=True)
def own(experiments: Path) -> None:
    (experiments / "called.py").write_text(OWN)


def test_a_loss_calls_a_layer_that_is_alone_with_more_than_x(start: Start) -> None:
    run = start(**DIFFUSION, batch_size=16, epochs=2)
    again = start(**DIFFUSION, batch_size=16, epochs=2)
    [net] = copy.deepcopy(run.model).children()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    torch.manual_seed(7)
    losses = [step.read() for step in train(run.state, run.batches(), run.step)]
    torch.manual_seed(7)
    for loss, [(_, (x, _))] in zip(losses, again.batches(), strict=True):
        time, drawn = torch.randint(5, (len(x),)), torch.randn_like(x)
        expected = (net(x + time[:, None] * drawn, time, scale=2.0) - drawn).square().mean()
        assert loss == float(expected.detach())
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
    _, outputs = measure.outputs(run, run.data.valid)
    assert torch.equal(outputs, net(run.data.valid.x).detach())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_it_is_exported(format: str, start: Start, tmp_path: Path) -> None:
    run = start(**DIFFUSION, batch_size=16, epochs=1)
    kind: Any = export.find(format)
    inputs = export.inputs(run.model.eval(), run.data.train.x[:2])
    source, path = export.Source(run.model, inputs, "seed: 0\n", {"run": "r"}), tmp_path / f"m{kind.SUFFIX}"
    kind.write(source, path)
    kind.check(source, path)


def test_it_goes_on_to_the_bit(start: Start) -> None:
    assert differences(lambda: start(**DIFFUSION, batch_size=16, epochs=2, average={"decay": 0.9}), 5) == []


def test_what_predictions_cannot_call_is_refused_with_the_remedy(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"Needs takes more than one input.*forward\(self, x, time=None\)"):
        start(**{**DIFFUSION, "layers": ["experiments.called.Needs"]})


def test_a_layer_that_indexes_by_a_mask_is_planned(start: Start) -> None:
    run = start(layers=["experiments.called.Routed", {"Linear": 1}], epochs=2)
    assert run.stack.layers[0].shape == (1,)
    assert len(list(train(run.state, run.batches(), run.step))) == 2
