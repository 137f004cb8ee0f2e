"""A training that was stopped and continued is the one that was not: losses, weights, random state, bit by bit."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.training import finite
from runner.training.events import Step
from runner.training.pending import Pending
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from tests.conftest import settings
from tests.support.on_disk import OnDisk
from tests.support.resumed import differences, same, trained

OPTIMIZERS: dict[str, Any] = {
    "momentum": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
    "adam": {"name": "Adam", "lr": 0.01},
    "adamw": {"name": "AdamW", "lr": 0.01},
}
SCHEDULES: dict[str, Any] = {
    "none": None,
    "cosine": {"name": "CosineAnnealingLR", "interval": "step"},
    "plateau": {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5},
}
LAYERS: dict[str, Any] = {
    "dropout": [{"Linear": 6}, "ReLU", {"Dropout": 0.4}, {"Linear": 1}],
    "batchnorm": [{"Linear": 6}, "BatchNorm1d", "ReLU", {"Linear": 1}],
}
READING = {"memory": None, "loader": 0, "workers": 2}
MATRIX = list(itertools.product(OPTIMIZERS, SCHEDULES, LAYERS, READING))
#: Three epochs of three batches.
EPOCHS, SIZE, POINTS = 3, 8, 24


def made(optimizer: str, schedule: str, layers: str, reading: str, **more: Any) -> Run:
    chosen = settings(
        layers=LAYERS[layers],
        data={"name": "line", "points": POINTS, "valid": 10},
        optimizer=OPTIMIZERS[optimizer],
        scheduler=SCHEDULES[schedule],
        batch_size=SIZE,
        **{"epochs": EPOCHS, "patience": 100, **more},
    )
    run = prepare(chosen, "test")
    if READING[reading] is not None:
        object.__setattr__(run.data, "train", OnDisk(run.data.train))
        run.settings.trainer.workers = READING[reading] or 0
    return run


def stopped(case: tuple[str, str, str, str], stop: int, drop: str = "") -> list[str]:
    """What is not as in the uninterrupted training of a case; `drop` gets lost."""
    return differences(lambda: made(*case), stop, drop)


def matrix(stops: Any = range(1, 9), cases: Any = MATRIX) -> str:
    """All of it; a line for the README."""
    wrong = [(case, stop) for case in cases for stop in stops if stopped(case, stop)]
    total = len(list(cases)) * len(list(stops))
    return f"stop after a batch and resume: {total - len(wrong)} of {total} bit-identical"


@pytest.mark.parametrize("case", MATRIX, ids="-".join)
def test_stopped_and_continued_is_uninterrupted(case: tuple[str, str, str, str]):
    """One stop for each combination here, so that all places in an epoch are met; `matrix()` does all of them."""
    if case[3] == "workers" and MATRIX.index(case) % 9:
        pytest.skip("every ninth: worker processes take their time")
    assert stopped(case, 1 + MATRIX.index(case) % 8) == []


@pytest.mark.parametrize("stop", range(1, 9))
def test_every_place_to_stop_is_as_good(stop: int):
    assert stopped(("adam", "plateau", "dropout", "memory"), stop) == []


@pytest.mark.parametrize(
    ("drop", "case"),
    [
        ("optimizer", ("momentum", "none", "dropout", "memory")),
        ("optimizer", ("adam", "none", "dropout", "memory")),
        ("scheduler", ("adam", "cosine", "dropout", "memory")),
        ("scheduler", ("momentum", "plateau", "dropout", "memory")),
        ("random", ("momentum", "none", "dropout", "memory")),
        ("step", ("momentum", "none", "batchnorm", "memory")),
        ("epoch", ("momentum", "none", "batchnorm", "memory")),
        ("best", ("momentum", "none", "batchnorm", "memory")),
        ("history", ("momentum", "none", "batchnorm", "memory")),
    ],
)
def test_without_any_one_part_it_is_not(drop: str, case: tuple[str, str, str, str]):
    assert stopped(case, 7, drop) != []


def test_without_its_buffers_it_is_not():
    case = ("momentum", "none", "batchnorm", "memory")
    trained(run := made(*case), until=4)
    second = made(*case)
    weights = checkpoint.copy(run.model)
    second.load_state_dict(
        {k: second.model.state_dict()[k] if "running" in k else v for k, v in weights.items()}, run.state_dict()
    )
    assert not same(trained(second)["weights"], trained(made(*case))["weights"])


def test_a_scaler_is_continued():
    run, second = (made("adam", "none", "dropout", "memory", precision="fp16") for _ in range(2))
    trained(run, until=4)
    assert run.state.scaler.get_scale() != 65536.0, "choose a training in which the scale changes"
    second.load_state_dict(checkpoint.copy(run.model), run.state_dict())
    assert second.state.scaler.get_scale() == run.state.scaler.get_scale()


# Numbers that are none


@pytest.mark.parametrize("waits", [False, True])
def test_a_loss_that_is_no_number_ends_the_record_at_its_step(waits: bool):
    run = made("momentum", "none", "dropout", "memory")
    pending = Pending(run, [run.recorder])
    pending.waits = waits
    losses = [1.0, 2.0, float("nan"), 3.0, float("nan")]
    with pytest.raises(finite.Diverged, match="train/loss is nan at step 3"), pending:  # noqa: PT012
        for step, loss in enumerate(losses, 1):
            run.state.step = step
            pending.add(Step(step, torch.tensor(loss)))
    assert list(run.history["train/loss"]) == [(1, 1.0), (2, 2.0)]
    assert run.state.step == 3


def test_steps_that_wait_are_read_together_and_given_in_order():
    run = made("momentum", "none", "dropout", "memory")
    given: list[Step] = []
    with Pending(run, [Collected(given)]) as pending:
        pending.waits = True
        for step in range(1, 101):
            pending.add(Step(step, torch.tensor(float(step))))
        assert len(given) == 64
    assert [(step.step, step.value) for step in given] == [(n, float(n)) for n in range(1, 101)]


class Collected:
    def __init__(self, given: list[Step]) -> None:
        self.given = given

    def record(self, event: object) -> None:
        self.given.append(event)


def test_a_weight_that_is_no_number_is_not_kept():
    model = nn.Linear(2, 1)
    finite.check_model(model, 3)
    with torch.no_grad():
        model.weight[0, 1] = float("inf")
    with pytest.raises(finite.Diverged, match="weight holds NaN or infinite numbers after step 3"):
        finite.check_model(model, 3)


def test_training_that_diverges_keeps_the_best_finite_model():
    run = prepare(
        settings(optimizer={"name": "SGD", "lr": 300.0}, layers=[{"Linear": 8}, {"Linear": 1}], epochs=60), "t"
    )
    folders: dict[str, Path] = {}
    with pytest.raises(finite.Diverged, match=r"(train|valid)/loss is (nan|inf) (at|after) step \d+"):
        trained(run, folders=folders)
    assert set(folders) == {"best"}
    found = checkpoint.load_state_dict(folders["best"] / "state_dict.pt")
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    run.close()
