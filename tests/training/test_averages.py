"""Averaged weights: torch's own numbers, what is measured and saved, resuming, and captured steps."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from runner.settings.errors import ConfigError
from runner.tracking.read import drift, lengthened
from runner.training import measure
from runner.training.drive import advance, drive
from runner.training.events import Snapshot
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from runner.training.vectorized.groups import groups as sorted_out
from tests.conftest import settings
from tests.support.resumed import differences

LAYERS = [{"Linear": 6}, "BatchNorm1d", "ReLU", {"Linear": 1}]
EMA, SWA = {"decay": 0.9}, {"from": 0.5}


def made(average: Any, **more: Any) -> Run:
    chosen = {"layers": LAYERS, "batch_size": 8, "epochs": 4, "optimizer": {"name": "Adam", "lr": 0.05}, **more}
    return prepare(settings(average=average, **chosen), "test")


def by_hand(run: Run, average: Any, epochs: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The averaged and the trained state of a plain loop with torch's AveragedModel."""
    model, loss = run.model, nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9) if average is EMA else None)
    model.train()
    for step, [(_, (x, y))] in enumerate(run.batches(), 1):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        if average is EMA or (step % run.steps_per_epoch == 0 and step // run.steps_per_epoch > epochs / 2):
            averaged.update_parameters(model)
    if average is SWA:
        update_bn(measure.reading(run, run.data.train), averaged)
    return averaged.module.state_dict(), model.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("average", [EMA, SWA], ids=["ema", "swa"])
@pytest.mark.parametrize("graph", [False, True])
def test_the_average_is_torchs_to_the_last_digit(average: Any, graph: bool):
    """Twelve epochs of 5 steps: with `graph` most steps are captured ones."""
    expected, trained = by_hand(made(average, epochs=12), average, 12)
    run = made(average, epochs=12, graph=graph)
    drive(run)
    assert bool(getattr(run.step, "captured", 0)) == graph
    assert equal(run.model.state_dict(), trained)
    with run.weights("averaged"):
        assert equal(checkpoint.copy(run.model), expected)
    assert equal(run.model.state_dict(), trained)


@pytest.mark.parametrize(("average", "epochs"), [(EMA, 10), (SWA, 5), (SWA, 8), (SWA, 10)])
def test_a_training_that_is_made_longer_is_the_same_when_repeated(average: Any, epochs: int):
    """As of one that is as long from the beginning, the mean has epochs of the new last half alone.

    Of 4 epochs these were 3 and 4: both belong to the last half of 5, and none to that of 8 and of 10.
    """
    first, repeated, whole = made(average), made(average), made(average, epochs=epochs)
    longer = made(average, epochs=epochs)
    for run in (first, repeated, whole):
        advance(run, (run.recorder,))
    longer.load_state_dict(checkpoint.copy(first.model), first.state_dict())
    drift.apply(longer, {}, first.steps)
    part = lengthened.Part(first.settings, {"trainer.epochs": (4, epochs)}, first.steps)
    lengthened.go_on(repeated, part, longer.settings)
    averages = []
    for run in (longer, repeated, whole):
        advance(run, (run.recorder,))
        with run.weights("averaged"):
            averages.append(checkpoint.copy(run.model))
        run.close()
    first.close()
    assert equal(averages[0], averages[1])
    assert equal(averages[0], averages[2])


@pytest.mark.parametrize(
    ("trained", "epochs", "message"),
    [
        (4, 6, "from epoch 4 on, and so far it has those of epochs 3 to 4; with at least 8 epochs it begins anew"),
        (4, 7, "from epoch 4 on"),
        (2, 3, "from epoch 2 on, and so far it has none after epoch 2; with at least 4 epochs"),
    ],
)
def test_a_mean_that_would_have_other_epochs_than_its_length_says_is_refused(trained: int, epochs: int, message: str):
    first, longer = made(SWA), made(SWA, epochs=epochs)
    first.stop = lambda: lengthened.Ended() if first.epoch == trained else None
    with contextlib.suppress(lengthened.Ended):
        advance(first, (first.recorder,))
    longer.load_state_dict(checkpoint.copy(first.model), first.state_dict())
    with pytest.raises(ConfigError, match=rf"^trainer.average.from: 0.5 of {epochs} epochs .*{message}"):
        drift.apply(longer, {}, first.steps)
    for run in (first, longer):
        run.close()


@pytest.mark.parametrize("average", [EMA, SWA], ids=["ema", "swa"])
@pytest.mark.parametrize("stop", [3, 9, 15, 17])
def test_stopped_and_continued_is_uninterrupted(average: Any, stop: int):
    assert differences(lambda: made(average), stop) == []


@pytest.mark.parametrize("average", [EMA, SWA], ids=["ema", "swa"])
def test_what_is_measured_saved_and_best_is_the_average(average: Any):
    run, snapshots = made(average), dict[str, Snapshot]()

    class Notes:
        def record(self, event: Any) -> None:
            snapshots.update({event.name: event} if isinstance(event, Snapshot) else {})

    drive(run, Notes())
    assert snapshots.keys() == {"last", "averaged", "best"}
    files = {name: checkpoint.load_state_dict(one.folder / "state_dict.pt") for name, one in snapshots.items()}
    assert equal(files["last"], checkpoint.copy(run.model))
    assert not equal(files["last"], files["averaged"])
    run.model.load_state_dict(files["best"])
    assert measure.validate(run)["valid/loss"] == run.best.value
    run.model.load_state_dict(files["averaged"])
    assert measure.validate(run)["valid/loss"] == run.history["valid/loss"][-1][1]


def test_the_training_is_the_same_as_without():
    runs = [made(average) for average in (None, EMA, SWA)]
    for run in runs:
        drive(run)
    assert all(equal(run.model.state_dict(), runs[0].model.state_dict()) for run in runs)
    assert all(run.history["train/loss"] == runs[0].history["train/loss"] for run in runs)
    assert "average" not in runs[0].state_dict()


def test_the_test_values_may_be_those_of_the_last_average():
    run = made(EMA, test_checkpoint="averaged", data={"name": "line", "points": 64, "valid": 20, "test": 10})
    drive(run)
    with run.weights("averaged"):
        assert measure.values(run, run.data.test, "test")["test/loss"] == run.history["test/loss"][-1][1]


def test_averaged_runs_are_trained_alone_and_the_reason_is_given():
    assert sorted_out([made(EMA), made(EMA)])[1] == dict.fromkeys((0, 1), "trainer.average is not stacked")


@pytest.mark.parametrize("spec", [0.999, {}, {"decay": 1.0}, {"from": 2}, {"decay": 0.9, "from": 0.5}, {"form": 0.5}])
def test_what_is_no_average_is_refused(spec: Any):
    with pytest.raises(ConfigError, match=r"trainer\.average"):
        made(spec)
