"""Evaluation mode for a block."""

import pytest
from torch import nn

from runner.model.modes import evaluating


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_module_returns_to_its_own_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model[1].eval()
    with evaluating(model):
        assert modes(model) == [False] * 5
    assert modes(model) == [True, True, False, True, True]


def test_a_model_in_evaluation_mode_stays_in_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    model[1].train()
    with evaluating(model):
        assert modes(model) == [False] * 3
    assert modes(model) == [False, False, True]


def test_the_modes_return_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout())
    with pytest.raises(ValueError, match="no good"), evaluating(model):
        raise ValueError("no good")
    assert modes(model) == [True, True]


def test_a_modules_own_train_is_called() -> None:
    class Merging(nn.Module):
        merged = False

        def train(self, mode: bool = True) -> "Merging":
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(Merging())
    with evaluating(model):
        assert model[0].merged
    assert not model[0].merged
