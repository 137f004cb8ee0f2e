"""Schedules whose rate follows from the step alone: torch's inner names for them, as `runner resume` uses them."""

import pytest
import torch
from torch.optim import lr_scheduler

from runner.settings import torch_private

#: Each with settings.
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


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_the_step_is_known_without_those_before(name: str) -> None:
    one = scheduler(name)
    if isinstance(one, torch_private.CLOSED_FORMS):
        place = f"torch {torch.__version__} has no {name}._get_closed_form_lr: runner/settings/torch_private.py"
        assert hasattr(one, "_get_closed_form_lr"), place
    assert torch_private.rates_of_step(one) == pytest.approx(one.get_last_lr())


def test_torch_does_not_warn_of_a_rate_that_is_asked_for_outside_of_a_step() -> None:
    one = scheduler("LambdaLR")
    assert hasattr(one, "_get_lr_called_within_step"), "runner/settings/torch_private.py"
    with pytest.warns(UserWarning, match="get_last_lr"):  # what that name is for
        one.get_lr()
    torch_private.rates_of_step(one)  # a warning is an error here


def test_a_rate_that_comes_from_the_one_before_is_not_planned() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    assert torch_private.rates_of_step(lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5)) is None
