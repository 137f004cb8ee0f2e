"""An observer that changes a setting of one optimizer among many changes it as in a run alone, and in no other run."""

from typing import Any

import pytest
import torch

from runner.settings.errors import ConfigError
from runner.training.drive import advance
from runner.training.events import Epoch, Event
from runner.training.run import Run
from runner.training.vectorized import drive_many, groups
from tests.conftest import Start

SGD, ADAM = {"name": "SGD", "lr": 0.05, "momentum": 0.9}, {"name": "Adam", "lr": 0.01}
STEPS = {"name": "StepLR", "step_size": 1, "gamma": 0.9}
CHANGES: list[tuple[dict[str, Any], str, Any]] = [
    (SGD, "weight_decay", 0.5),
    (SGD, "momentum", 0.1),
    (SGD, "dampening", 0.5),
    (SGD, "lr", 0.001),
    (ADAM, "betas", (0.5, 0.9)),
    (ADAM, "eps", 0.1),
]


class Changes:
    """Changes a setting after the second epoch."""

    takes_steps = False

    def __init__(self, run: Run, name: str, value: Any) -> None:
        self.run, self.name, self.value = run, name, value

    def record(self, event: Event) -> None:
        if isinstance(event, Epoch) and event.epoch == 2:
            self.run.state.optimizer.param_groups[0][self.name] = self.value


def started(start: Start, optimizer: dict[str, Any], scheduler: Any, width: int) -> list[Run]:
    more = {"layers": [{"Linear": width}, "ReLU", {"Linear": 1}], "scheduler": scheduler, "batch_size": 16}
    return [start(optimizer=optimizer, seed=seed, epochs=5, graph=False, **more) for seed in range(3)]


def together(runs: list[Run], name: str, value: Any) -> None:
    """Train runs as one program, of which an observer changes the first: that whose settings are read for all."""
    assert groups(runs) == ([[0, 1, 2]], {})
    drive_many(
        runs, [[Changes(run, name, value)] if i == 0 else [] for i, run in enumerate(runs)], draw=lambda *_: None
    )


@pytest.mark.parametrize("width", [6, 1500])  # the second takes torch's fused step, where there is one
@pytest.mark.parametrize("scheduler", [None, STEPS])
@pytest.mark.parametrize(("optimizer", "name", "value"), CHANGES)
def test_a_changed_setting_is_that_of_its_run_alone(
    start: Start, optimizer: dict[str, Any], name: str, value: Any, scheduler: Any, width: int
) -> None:
    alone, many = (started(start, optimizer, scheduler, width) for _ in range(2))
    for i, run in enumerate(alone):
        advance(run, [run.recorder, *([Changes(run, name, value)] if i == 0 else [])])
    together(many, name, value)
    for one, other in zip(alone, many, strict=True):
        torch.testing.assert_close(other.model.state_dict(), one.model.state_dict(), rtol=1e-4, atol=1e-5)
    unchanged = started(start, optimizer, scheduler, width)[0]
    advance(unchanged, [unchanged.recorder])
    with pytest.raises(AssertionError):  # the control: it makes a difference
        torch.testing.assert_close(unchanged.model.state_dict(), alone[0].model.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_change_of_what_a_step_does_is_refused(start: Start) -> None:
    with pytest.raises(ConfigError) as error:
        together(started(start, SGD, None, 6), "nesterov", True)
    assert error.value.key == "optimizer.nesterov"
