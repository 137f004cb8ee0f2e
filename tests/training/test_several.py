"""Several optimizers by their names: whose parameters they have, torch's own numbers, resuming, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.conftest import settings
from tests.support.resumed import differences

STEP = """
from runner.training.step import gradients

def both(state, parts):
    for optimizer in state.optimizers.values():
        optimizer.zero_grad()
    loss = gradients(state, parts)
    for optimizer in state.optimizers.values():
        optimizer.step()
    return loss
"""
LAYERS = {"first": {"Linear": 4}, "act": "Tanh", "head": {"Linear": 1}}
SPEC: dict[str, Any] = {
    "body": {"name": "Adam", "lr": 0.01, "params": ["fir*"]},
    "head": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
}


@pytest.fixture(autouse=True)
def step(tmp_path: Path) -> None:
    (tmp_path / "several_step.py").write_text(STEP)
    use_folder(tmp_path)


def made(optimizer: Any = None, **more: Any) -> Run:
    given = {"step": "experiments.several_step.both", "batch_size": 8, **more}
    return prepare(settings(layers=LAYERS, optimizer=optimizer or SPEC, **given), "test")


@pytest.mark.parametrize("more", [{}, {"step": None}], ids=["own step", "one loss"])
def test_they_are_torchs_own_with_a_part_of_the_model_each(more: dict[str, Any]) -> None:
    run, by_hand = made(epochs=2, **more), made(epochs=2)
    drive(run)
    body, head = by_hand.model.first, by_hand.model.head
    optimizers = torch.optim.Adam(body.parameters(), lr=0.01), torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    by_hand.model.train()
    for [(_, (x, y))] in by_hand.batches():
        torch.nn.functional.mse_loss(by_hand.model(x), y).backward()
        for one in optimizers:
            one.step(), one.zero_grad()
    for one in (run, by_hand):
        one.close()
    assert all(map(torch.equal, run.model.parameters(), by_hand.model.parameters()))
    assert [run.history[f"lr/{name}"][-1][1] for name in SPEC] == [0.01, 0.1]


@pytest.mark.parametrize("own", [True, False], ids=["own step", "one loss"])
def test_gradients_are_clipped_for_each_loss(own: bool) -> None:
    run, by_hand = made(clip_norm=0.05, **({} if own else {"step": None})), made()
    drive(run)
    parts = [list(by_hand.model.first.parameters()), list(by_hand.model.head.parameters())]
    optimizers = torch.optim.Adam(parts[0], lr=0.01), torch.optim.SGD(parts[1], lr=0.1, momentum=0.9)
    by_hand.model.train()
    for [(_, (x, y))] in by_hand.batches():
        torch.nn.functional.mse_loss(by_hand.model(x), y).backward()
        for some in parts if own else [[*parts[0], *parts[1]]]:
            torch.nn.utils.clip_grad_norm_(some, 0.05)
        for one in optimizers:
            one.step(), one.zero_grad()
    for one in (run, by_hand):
        one.close()
    assert all(map(torch.equal, run.model.parameters(), by_hand.model.parameters()))


def test_one_pattern_may_stand_for_a_list_of_it() -> None:
    run = made({**SPEC, "body": {**SPEC["body"], "params": "fir*"}})
    assert [group["params"] for group in run.state.optimizer.param_groups] == [
        list(run.model.first.parameters()),
        list(run.model.head.parameters()),
    ]
    run.close()


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        {"name": "CosineAnnealingLR", "interval": "step"},
        {"body": {"name": "StepLR", "step_size": 1}, "head": {"name": "OneCycleLR", "max_lr": 0.2}},
    ],
)
def test_a_stopped_training_goes_on_to_the_bit(scheduler: Any) -> None:
    more = {} if scheduler else {"step": None}
    assert differences(lambda: made(scheduler=scheduler, clip_norm=0.1, **more), 5) == []


def test_frozen_layers_need_no_optimizer() -> None:
    run = made({"head": SPEC["head"]}, model=Model(layers=LAYERS, freeze=["first"]))
    assert set(run.state.optimizer.param_groups[0]["params"]) == set(run.model.head.parameters())
    run.close()


def test_each_follows_its_own_schedule() -> None:
    run = made(epochs=3, scheduler={"body": {"name": "StepLR", "step_size": 1}})
    drive(run)
    run.close()
    assert [value for _, value in run.history["lr/body"]] == pytest.approx([0.01, 0.001, 0.0001])
    assert [value for _, value in run.history["lr/head"]] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("optimizer", "more", "message"),
    [
        ({**SPEC, "body": {"name": "Adam", "params": ["*"]}}, {}, r"^optimizer.head: head.weight belongs to body too"),
        ({"head": SPEC["head"]}, {}, r"^optimizer: first.weight and 1 more belongs to none of head"),
        ({**SPEC, "boby": {"name": "Adam"}}, {}, r"^optimizer.boby: 'boby' is no layer"),
        ({**SPEC, "act": {"name": "Adam"}}, {}, r"^optimizer.act: has no parameters"),
        ({**SPEC, "head": {"Adam": {"lr": 0.1}}}, {}, r"^optimizer.head: .* names no optimizer"),
        (SPEC, {"scheduler": {"name": "OneCycleLR", "max_lr": 0.2}}, r"^scheduler.max_lr: 0.2 is for one optimizer"),
        ({**SPEC, "head": {"name": "LBFGS"}}, {}, r"^optimizer.head.name: LBFGS"),
        (
            SPEC,
            {"scheduler": {"tail": {"name": "StepLR", "step_size": 1}}},
            r"^scheduler.tail: is no name of an optimizer",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(optimizer: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(optimizer, **more).close()
