"""Laws that hold for every experiment that comes with the package, whatever its data, model and loss are."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from runner.settings import Settings
from runner.training import measure
from runner.training.loop import train
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.support import composing
from tests.support.experiments import KINDS, here

#: Their models draw in training.
DRAWS = ("digits_vae",)
#: Their losses are of a whole batch, or of examples that are mixed within one, or draw for all of it.
OF_BATCHES = ("digits_contrastive", "digits_mixup", "digits_diffusion")


@pytest.fixture(scope="module", params=KINDS)
def settings(request: pytest.FixtureRequest) -> dict[str, Settings]:
    """Experiments that train, by name."""
    with composing.hydra():
        found = {path.stem: composing.settings(f"experiments={path.stem}") for path in here(request.param)}
    return {name: one for name, one in found.items() if one.trainer.trains and name not in OF_BATCHES}


def started(settings: Settings, **trainer: object) -> Run:
    """The run before its first step, drawing nothing at random in training and in the data's own order."""
    changed = replace(settings.trainer, shuffle=False, threads=1, **trainer)  # type: ignore[arg-type]
    run = prepare(replace(settings, trainer=changed, plots=[], device="cpu"), "law")
    for module in run.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return run


def runs(settings: dict[str, Settings], **trainer: object) -> Iterator[tuple[str, Run]]:
    for name, one in settings.items():
        run = started(one, **trainer)
        yield name, run
        run.close()


def test_any_batch_size_gives_the_loss_of_the_whole(settings: dict[str, Settings]) -> None:
    assert len(settings) >= 8
    whole = {name: measure.validate(run) for name, run in runs(settings, batch_size=None, monitor="train/loss")}
    for size in (7, 300):
        for name, run in runs(settings, batch_size=size, monitor="train/loss"):
            assert measure.validate(run) == pytest.approx(whole[name], rel=2e-5), name


def test_accumulated_batches_are_the_step_of_the_whole(settings: dict[str, Settings]) -> None:
    for name, one in settings.items():
        if one.trainer.step is not None:  # whose step is its own
            continue
        plain = replace(one, optimizer={"name": "SGD", "lr": 0.01}, scheduler=None)
        whole, parts = started(plain, batch_size=None), started(plain, batch_size=100, accumulate=1000)
        if (
            any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) for module in whole.model.modules())
            or name in DRAWS
        ):
            continue  # which see the examples of a batch together, or draw for each
        steps = [next(train(run.state, run.batches(), run.step)) for run in (whole, parts)]
        assert steps[0].read() == pytest.approx(steps[1].read(), rel=2e-5), name
        for (key, a), b in zip(whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6), (name, key)
        whole.close()
        parts.close()
