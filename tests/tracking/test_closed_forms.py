"""Schedules whose rate follows from the step alone: torch's inner names for them, as `runner resume` uses them."""

import pytest
import torch
from torch.optim import lr_scheduler

from runner.tracking.read import drift

#: The newest torch that this was tried with: read/drift.py is where to mend it.
RELEASE = (2, 13)
#: Each with settings; all of them had a closed form, or compute their rate from the step, up to RELEASE.
SCHEDULES = {
    "StepLR": {"step_size": 3},
    "MultiStepLR": {"milestones": [3]},
    "ConstantLR": {},
    "LinearLR": {},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {},
    "CosineAnnealingLR": {"T_max": 20},
    "LambdaLR": {"lr_lambda": lambda step: 1 / (1 + step)},
    "OneCycleLR": {"max_lr": 1.0, "total_steps": 20},
}


def scheduler(name: str) -> lr_scheduler.LRScheduler:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    made: lr_scheduler.LRScheduler = getattr(lr_scheduler, name)(optimizer, **SCHEDULES[name])
    for _ in range(7):
        optimizer.step()
        made.step()
    return made


def test_the_release_is_one_that_was_tried() -> None:
    now = tuple(map(int, torch.__version__.split(".")[:2]))
    assert now <= RELEASE, f"torch {torch.__version__} is newer: see that the tests here pass, then set RELEASE"


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_the_step_is_known_without_those_before(name: str) -> None:
    one = scheduler(name)
    assert drift._planned(one) == pytest.approx(one.get_last_lr())


def test_a_rate_that_comes_from_the_one_before_is_not_planned() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    assert drift._planned(lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5)) is None
