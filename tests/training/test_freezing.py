"""Frozen layers: torch's own numbers, normalization that stands still, layers that come later, resuming."""

from typing import Any

import pytest
import torch
from torch import nn

from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.parts import freezing
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from runner.training.vectorized.groups import groups as sorted_out
from tests.conftest import settings
from tests.support.resumed import differences

LAYERS = {"lin1": {"Linear": 6}, "norm1": "BatchNorm1d", "act": "ReLU", "lin2": {"Linear": 4}, "head": {"Linear": 1}}


def made(freeze: Any, **more: Any) -> Run:
    model = Model(LAYERS, freeze=freeze)
    optimizer = {"name": "Adam", "lr": 0.01}
    return prepare(settings(model=model, optimizer=optimizer, batch_size=8, **{"epochs": 4, **more}), "test")


def test_what_is_frozen_stays_and_so_do_the_statistics_of_its_normalization():
    run = made(["lin1", "norm*"])
    before = checkpoint.copy(run.model)
    drive(run)
    after = checkpoint.copy(run.model)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"lin2.weight", "lin2.bias", "head.weight", "head.bias"}


def test_a_norm_that_is_not_frozen_goes_on_beside_frozen_layers():
    run = made("lin1")
    before = checkpoint.copy(run.model)
    drive(run)
    assert not torch.equal(before["norm1.running_mean"], run.model.norm1.running_mean)


def by_hand(run: Run, epochs: int) -> list[torch.Tensor]:
    """A plain loop of torch: lin1 and norm1 are frozen for some epochs, and given to the optimizer after these."""
    model, loss = run.model, nn.MSELoss()
    later = [*model.lin1.parameters(), *model.norm1.parameters()]
    for parameter in later:
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam([*model.lin2.parameters(), *model.head.parameters()], lr=0.01)
    model.train()
    model.norm1.eval()
    for step, [(_, (x, y))] in enumerate(run.batches()):
        if step == epochs * run.steps_per_epoch:
            for parameter in later:
                parameter.requires_grad_(True)
            model.norm1.train()
            optimizer.add_param_group({"params": later})
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return list(model.state_dict().values())


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_layers_that_come_later_have_the_numbers_of_torchs_add_param_group(epochs: int):
    expected = by_hand(made(None), epochs)
    run = made({"lin1": epochs, "norm1": epochs})
    drive(run)
    assert all(map(torch.equal, run.model.state_dict().values(), expected))


@pytest.mark.parametrize("stop", [3, 5, 8, 9, 13])
def test_stopped_and_continued_is_uninterrupted(stop: int):
    assert differences(lambda: made({"lin1": 1, "norm1": 2, "lin2": 3}), stop) == []


def test_a_captured_step_sees_layers_that_come_later():
    runs = [made({"lin1": 6, "norm1": 7}, epochs=24, graph=graph) for graph in (True, False)]
    for run in runs:
        drive(run)
    assert runs[0].step.captured
    assert all(map(torch.equal, runs[0].model.state_dict().values(), runs[1].model.state_dict().values()))


def test_runs_with_frozen_layers_are_trained_alone_and_the_reason_is_given():
    assert sorted_out([made("norm1"), made("norm1")])[1] == dict.fromkeys((0, 1), "model.freeze is not stacked")


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        ("lin1", {"lin1": float("inf")}),
        ([0, "norm*"], {"0": float("inf"), "norm*": float("inf")}),
        ({"*": True, "head": False}, {"*": float("inf"), "head": 0.0}),
        (["lin1", {"lin2": "3 epochs"}], {"lin1": float("inf"), "lin2": 3.0}),
    ],
)
def test_a_freeze_is_a_pattern_a_list_or_a_mapping(spec: Any, read: Any):
    assert freezing.read(spec) == read


def test_the_last_pattern_counts():
    held = freezing.described(freezing.read({"*": True, "head": False, "lin2": 3}), made(None).model)
    assert held == {
        **dict.fromkeys(("lin1.weight", "lin1.bias", "norm1.weight", "norm1.bias"), "frozen"),
        **dict.fromkeys(("lin2.weight", "lin2.bias"), "frozen for 3 epochs"),
    }


@pytest.mark.parametrize("spec", ["*", {"*": 2}, True, {"lin1": 1.5}, ["lin9"]])
def test_what_cannot_be_frozen_is_refused(spec: Any):
    with pytest.raises(ConfigError, match=r"model\.freeze"):
        made(spec)
