"""The steps that `runner check` tries are those of the run: with weights, batches and random numbers in their place."""

from typing import Any

import pytest
import torch

from runner.settings import Settings
from runner.training.checking import checks, trial_steps
from runner.training.checking.forecast import forecast
from runner.training.checking.trial_steps import _Trial
from runner.training.prepare import prepare
from tests.conftest import settings
from tests.training.test_placement import CONV
from tests.training.test_streams import DIGITS, LOSS
from tests.training.test_vectorized import IMAGES, jobs
from tests.whole.test_device import elsewhere

#: Device, type and order in memory of a tensor, and whether it is one of images.
Place = tuple[str, torch.dtype, bool, int]


def place(tensor: torch.Tensor) -> Place:
    images = tensor.dim() == 4
    ordered = images and tensor.is_contiguous(memory_format=torch.channels_last)
    return str(tensor.device), tensor.dtype, ordered, tensor.dim()


def places(of: Settings) -> list[Any]:
    """Return the places of weights and of a batch, and the number of counters of streams: of a trial, and of a run."""
    checked = checks.check(of)
    trial, run = _Trial(of, checked, forecast(of, checked)), prepare(of, "test")
    batches = [next(trial.stream)[0][1], next(run.batches())[0][1]]
    found = [
        ([place(p) for p in one.model.parameters()], [place(part) for part in batch], len(one.counters))
        for one, batch in zip((trial.state, run.state), batches, strict=True)
    ]
    run.close()
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_they_are_tried_in_the_order_of_the_run(channels_last: bool, precision: str) -> None:
    of = settings(**CONV, channels_last=channels_last, precision=precision)
    tried, taken = places(of)
    assert tried == taken
    assert all(ordered for *_, ordered, dims in [*taken[0], *taken[1]] if dims == 4) == channels_last
    checked = checks.check(of)
    assert trial_steps.trial(of, checked, forecast(of, checked)) is not None


def _on_a_device() -> list[Any]:
    [of] = jobs(1, layers=IMAGES["nested"], data=DIGITS, device="pretend", **LOSS)
    return places(of)


def test_on_a_device_dropout_is_drawn_from_streams() -> None:
    tried, taken = elsewhere(_on_a_device)
    assert tried == taken
    assert taken[2] == 1, "the control: the run has streams"
