"""Groups of parameters: what patterns mean, torch's own numbers, resuming, and what is recorded of them."""

from typing import Any

import pytest
import torch
from torch import nn

from runner.model import patterns
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.parts import groups
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.vectorized.groups import groups as sorted_out
from tests.conftest import Start, settings
from tests.support.resumed import differences

LAYERS = {"conv": {"Linear": 6}, "norm": "LayerNorm", "act": "ReLU", "head": {"Linear": 1}}
GROUPS: dict[str, Any] = {"head": {"lr": 0.05}, "*.bias": {"weight_decay": 0.0}}
SCHEDULES: dict[str, Any] = {
    "none": None,
    "cosine": {"name": "CosineAnnealingLR", "interval": "step"},
    "warmup": {"name": "WarmupCosineLR", "interval": "step"},
    "one_cycle": {"name": "OneCycleLR", "max_lr": 0.02},
}


def made(schedule: str = "none", name: str = "AdamW", chosen: Any = None, **more: Any) -> Run:
    optimizer = {"name": name, "lr": 0.01, "weight_decay": 0.1, "groups": GROUPS if chosen is None else chosen}
    return prepare(
        settings(layers=LAYERS, optimizer=optimizer, scheduler=SCHEDULES[schedule], batch_size=8, **more), "test"
    )


def by_hand(run: Run, schedule: str, name: str) -> list[float]:
    """The weights of a plain loop of torch with these groups, from the run's first weights and batches."""
    model, head = run.model, run.model.head
    before = [head.weight], [head.bias], [model.conv.weight, model.norm.weight], [model.conv.bias, model.norm.bias]
    chosen = getattr(torch.optim, name)(
        [
            {"params": before[2]},
            {"params": before[3], "weight_decay": 0.0},
            {"params": before[0], "lr": 0.05},
            {"params": before[1], "lr": 0.05, "weight_decay": 0.0},
        ],
        lr=0.01,
        weight_decay=0.1,
    )
    if schedule == "cosine":
        moves = torch.optim.lr_scheduler.CosineAnnealingLR(chosen, run.steps)
    if schedule == "one_cycle":
        moves = torch.optim.lr_scheduler.OneCycleLR(chosen, [0.02, 0.02, 0.1, 0.1], run.steps)
    loss = nn.MSELoss()
    for step, [(_, (x, y))] in enumerate(run.batches(), 1):
        chosen.zero_grad()
        loss(model(x), y).backward()
        chosen.step()
        if schedule != "none" and step < run.steps:
            moves.step()
    return [value.item() for p in model.parameters() for value in p.flatten()]


@pytest.mark.parametrize("schedule", ["none", "cosine", "one_cycle"])
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_numbers_are_those_of_torchs_groups(schedule: str, name: str):
    expected = by_hand(made(schedule, name), schedule, name)
    run = made(schedule, name)
    drive(run)
    assert [value.item() for p in run.model.parameters() for value in p.flatten()] == expected
    run.close()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stopped_and_continued_is_uninterrupted(schedule: str):
    assert differences(lambda: made(schedule), 7) == []


def test_a_captured_step_has_the_same_numbers():
    """Long enough to be captured, against a run that is not."""
    runs = [made("cosine", epochs=24, graph=graph) for graph in (True, False)]
    for run in runs:
        drive(run)
    assert runs[0].step.captured
    assert all(map(torch.equal, runs[0].model.parameters(), runs[1].model.parameters()))


def test_the_rate_of_a_group_is_recorded_where_it_has_its_own(start: Start):
    run = made("cosine")
    drive(run)
    assert {name for name in run.history if name.startswith("lr")} == {"lr", "lr/head"}
    assert [v for _, v in run.history["lr/head"]] == pytest.approx([5 * v for _, v in run.history["lr"]])
    assert not [name for name in run.last_values() if name.startswith("lr")]
    plain = start(epochs=1)
    drive(plain)
    assert "set_by" not in plain.state.optimizer.param_groups[0]


def test_later_groups_override_earlier_ones_key_by_key():
    run = made(chosen={"head": {"lr": 0.5, "weight_decay": 0.3}, "head.bias": {"weight_decay": 0.0}})
    by_name = {
        name: (group["lr"], group["weight_decay"])
        for group in run.state.optimizer.param_groups
        for name, p in run.model.named_parameters()
        if any(p is one for one in group["params"])
    }
    assert by_name["head.weight"] == (0.5, 0.3)
    assert by_name["head.bias"] == (0.5, 0.0)
    assert by_name["conv.weight"] == (0.01, 0.1)


def test_runs_with_groups_are_trained_alone_and_the_reason_is_given():
    runs = [made(), made()]
    assert sorted_out(runs) == ([], dict.fromkeys((0, 1), "optimizer.groups is not stacked"))


# Patterns


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"conv1": nn.Conv2d(1, 2, 3), "norm1": nn.BatchNorm2d(2)})
        self.head = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.head.weight


@pytest.mark.parametrize(
    ("pattern", "parameters"),
    [
        ("head", ["head.weight", "head.bias"]),
        ("block", ["block.conv1.weight", "block.conv1.bias", "block.norm1.weight", "block.norm1.bias"]),
        ("*norm*", ["block.norm1.weight", "block.norm1.bias"]),
        ("BatchNorm2d", ["block.norm1.weight", "block.norm1.bias"]),
        ("torch.nn.modules.conv.Conv2d", ["block.conv1.weight", "block.conv1.bias"]),
        ("*.bias", ["block.conv1.bias", "block.norm1.bias", "head.bias"]),
        ("tied", ["head.weight"]),
    ],
)
def test_a_pattern_means_a_layer_a_class_or_a_parameter(pattern: str, parameters: list[str]):
    assert patterns.select(pattern, Net(), "model.freeze").parameters == parameters


@pytest.mark.parametrize(("pattern", "near"), [("hed", "'head'"), ("conv1", "'block.conv1'"), ("linear", "'Linear'")])
def test_a_pattern_that_means_nothing_is_refused_with_what_may_be_meant(pattern: str, near: str):
    with pytest.raises(ConfigError, match=f"did you mean {near}"):
        patterns.select(pattern, Net(), "model.freeze")


def test_words_for_a_group_have_its_arguments():
    assert groups.described(GROUPS, made().model)["head.bias"] == "head (lr=0.05), *.bias (weight_decay=0)"
