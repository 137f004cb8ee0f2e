"""Steps, epochs and validations: what is counted, and that all of it is exact after a stop."""

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from runner.settings import Trainer
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import due
from runner.training.vectorized import drive_many
from tests.conftest import settings
from tests.support.resumed import differences


def made(**more: Any) -> Run:
    """A training of 64 examples in batches of 13: 5 steps an epoch."""
    return prepare(settings(**{"batch_size": 13, **more}), "test")


def driven(run: Run) -> Run:
    drive(run)
    run.close()
    return run


def steps_of(run: Run, name: str) -> list[int]:
    return [step for step, _ in run.history[name]]


def test_a_training_may_end_within_an_epoch_and_is_validated_there() -> None:
    run, whole = driven(made(epochs=None, steps=12)), driven(made(epochs=3))
    assert (run.state.step, run.epoch, run.length.epochs) == (12, 2, 3)
    assert list(run.history["train/loss"]) == list(whole.history["train/loss"])[:12]
    assert steps_of(run, "valid/loss") == [5, 10, 12]
    assert [value for _, value in run.history["epoch"]] == [1, 2, 2.4]


@pytest.mark.parametrize(
    ("every", "more", "expected"),
    [
        ("4 steps", {"epochs": 2}, [4, 8, 10]),
        ("2 epochs", {"epochs": 3}, [10, 15]),
        (2, {"epochs": None, "steps": 12}, [10, 12]),
        ("7 steps", {"epochs": None, "steps": 14}, [7, 14]),
        ("0.5 epochs", {"epochs": 2}, [3, 5, 8, 10]),
        (0.3, {"epochs": 2}, [2, 3, 5, 6, 8, 9, 10]),
        (0.1, {"epochs": 1}, [1, 2, 3, 4, 5]),
        ("1.5 epochs", {"epochs": 4}, [8, 15, 20]),
    ],
)
def test_validations_come_every_so_many_epochs_or_steps(every: Any, more: Any, expected: list[int]) -> None:
    assert steps_of(driven(made(validate_every=every, **more)), "valid/loss") == expected


def test_best_and_patience_count_validations_within_epochs() -> None:
    run = driven(made(epochs=20, validate_every="3 steps", patience=4, min_delta=10.0))
    assert (run.state.step, run.best.step) == (15, 3)


def test_a_schedule_counts_steps_where_the_training_does() -> None:
    run = driven(made(epochs=None, steps=12, validate_every="1 steps", scheduler={"name": "CosineAnnealingLR"}))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    plain, rates = CosineAnnealingLR(optimizer, T_max=12), []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step(), plain.step()
    assert [value for _, value in run.history["lr"]] == rates


def test_a_plateau_schedule_moves_on_after_validations() -> None:
    plateau = {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 1e9, "factor": 0.5}
    run = driven(made(epochs=None, steps=9, validate_every="3 steps", scheduler=plateau))
    assert [value for _, value in run.history["lr"]] == [0.1, 0.05, 0.025]


CASES: dict[str, dict[str, Any]] = {
    "steps": {
        "epochs": None,
        "steps": 12,
        "validate_every": "3 steps",
        "scheduler": {"name": "OneCycleLR", "max_lr": 0.1},
    },
    "metrics": {"epochs": 3, "train_metrics": True, "metrics": ["MeanSquaredError", "R2Score"]},
    "parts of epochs": {"epochs": 3, "validate_every": "0.5 epochs", "patience": 9},
    "accumulated": {"epochs": None, "steps": 7, "accumulate": 2, "validate_every": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_training_goes_on_to_the_bit(case: str) -> None:
    assert differences(lambda: made(**CASES[case]), 7 if case != "accumulated" else 4) == []


@pytest.mark.parametrize(("every", "at"), [("4 steps", [4, 8, 12, 13]), ("0.7 epochs", [4, 7, 11, 13])])
def test_many_as_one_program_count_the_same(every: str, at: list[int]) -> None:
    more: dict[str, Any] = {"epochs": None, "steps": 13, "validate_every": every, "graph": False}
    alone = [driven(made(seed=seed, **more)) for seed in (0, 1)]
    together = [made(seed=seed, **more) for seed in (0, 1)]
    drive_many(together, [[], []])
    for one, other in zip(alone, together, strict=True):
        other.close()
        assert steps_of(one, "valid/loss") == steps_of(other, "valid/loss") == at
        torch.testing.assert_close(one.history["valid/loss"][-1][1], other.history["valid/loss"][-1][1])
        assert (one.epoch, one.best.step) == (other.epoch, other.best.step)


def test_metrics_of_training_are_those_of_the_batches_as_they_are_trained_on() -> None:
    run = driven(made(epochs=2, train_metrics=True, metrics=["MeanSquaredError"]))
    losses = [value for _, value in run.history["train/loss"]]
    sizes = [13, 13, 13, 13, 12]
    for epoch, (_, value) in enumerate(run.history["train/MeanSquaredError"]):
        each = losses[5 * epoch : 5 * epoch + 5]
        assert value == pytest.approx(sum(loss * n for loss, n in zip(each, sizes, strict=True)) / 64)
    plain = driven(made(epochs=2, metrics=["MeanSquaredError"]))
    assert losses == [value for _, value in plain.history["train/loss"]]
    assert "train/MeanSquaredError" not in plain.history


@pytest.mark.parametrize(("limit", "train", "valid"), [(1, 13, 13), (2, 26, 26), (0.5, 26, 26), (1.0, 64, 40)])
def test_a_limit_leaves_some_batches_of_each_part(limit: Any, train: int, valid: int) -> None:
    run = driven(made(epochs=2, limit_batches=limit))
    assert (len(run.data.train), len(run.data.valid)) == (train, valid)
    assert run.steps == 2 * -(-train // 13)
    whole = made()
    whole.close()
    kept = {tuple(row.tolist()) for row in run.data.train.x}
    assert kept <= {tuple(row.tolist()) for row in whole.data.train.x}


def test_an_interval_comes_with_the_first_step_that_reaches_it() -> None:
    for each, text in itertools.product((1, 5, 23, 1000), ("0.5", "0.1", "0.3", "1", "2.25", "0.001")):
        every = due.read(f"{text} epochs")
        steps = range(1, 4 * each + 1)
        reached = [math.floor(step / (Fraction(text) * each)) for step in (0, *steps)]
        expected = [step for step in steps if reached[step] > reached[step - 1]]
        assert [step for step in steps if every.is_now(step, each)] == expected
        following = [due.following(step, *every.steps(each)) for step in steps]
        assert [
            one for one in dict.fromkeys([due.following(0, *every.steps(each)), *following]) if one in steps
        ] == expected


def test_one_length_is_enough() -> None:
    assert (Trainer().epochs, Trainer(steps=3).epochs, Trainer(steps=3).trains) == (300, None, True)
    with pytest.raises(ConfigError, match=r"^trainer.steps: 3 beside trainer.epochs=2, and both are the length"):
        made(epochs=2, steps=3)


def test_the_cost_of_what_is_not_used_is_nothing() -> None:
    run = made()
    run.close()
    assert not list(itertools.chain(run.pictures.after(run, 1), run.seen.values(), run.seen.state_dict()))
