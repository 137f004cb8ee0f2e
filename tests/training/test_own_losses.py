"""A step of one's own may return the same tensor each time, and write into it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.training.loop import train
from runner.training.step import STATE
from tests.conftest import Start

OWN = """
import torch
from runner.training.step import gradients

class Fresh:
    def __init__(self, state):
        self.loss, self.other = torch.zeros(()), torch.zeros(())

    def __call__(self, state, parts):
        loss = gradients(state, parts)
        state.optimizer.step()
        return loss

class Same(Fresh):
    def __call__(self, state, parts):
        return self.loss.copy_(super().__call__(state, parts))

class Named(Fresh):
    def __call__(self, state, parts):
        self.loss.copy_(super().__call__(state, parts))
        return {"loss": self.loss, "other": self.other.copy_(-self.loss)}

class WithState(Same):
    def state_dict(self):
        return {"loss": self.loss}

    def load_state_dict(self, state):
        self.loss.copy_(state["loss"])
"""


@pytest.fixture
def own(experiments: Path) -> None:
    (experiments / "losses.py").write_text(OWN)


def losses(start: Start, name: str) -> list[float]:
    """Return the losses of a training, read when it is over, as on an accelerator they are read later."""
    run = start(step=f"experiments.losses.{name}", batch_size=8, epochs=2)
    steps = list(train(run.state, run.batches(), run.step))
    assert all(value == -step.read() for step in steps for value in [float(v) for _, v in step.others])
    return [step.read() for step in steps]


@pytest.mark.parametrize("name", ["Same", "Named", "WithState"])
def test_losses_that_a_step_writes_over_are_those_of_their_steps(start: Start, own: None, name: str) -> None:
    expected = losses(start, "Fresh")
    assert len(set(expected)) > 2, "the control: they differ"
    assert losses(start, name) == expected


@pytest.mark.parametrize(("name", "has"), [("Same", False), ("WithState", True)])
def test_it_has_the_state_that_the_step_has(start: Start, own: None, name: str, has: bool) -> None:
    run: Any = start(step=f"experiments.losses.{name}", batch_size=8, epochs=1)
    assert [hasattr(run.step, one) for one in STATE] == [has, has]
    assert (run.state_dict()["own_step"] is not None) == has


def test_its_attributes_are_those_of_the_step(start: Start, own: None) -> None:
    step: Any = start(step="experiments.losses.Same", batch_size=8, epochs=1).step
    step.loss = torch.ones(())
    for one in (step, copy.copy(step)):
        assert one.loss is step.own.loss
        assert one.loss == 1
