"""Batches that nothing is trained on: as large as those of the training, or as trainer.eval_batch_size says."""

import contextlib
import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.data import Tensors, evaluation_size
from runner.settings import EARLIER, Settings, Trainer
from runner.settings.trust import recorded_settings
from runner.training import measure
from runner.training.drive import drive
from runner.training.run import Run
from runner.training.subject import Subject
from runner.training.vectorized import drive_many, groups
from runner.training.vectorized.feed import Pool
from tests.conftest import Start
from tests.support.on_disk import OnDisk

IN_BATCH = {"name": "experiments.losses.InBatch"}
OLD = Path(__file__).parents[1] / "whole/version_0_1/config.yaml"


#: A loss of each example beside the others of its batch, as contrastive losses have.
LOSS = """
import torch
from torch import nn

SIZES = []

class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)

class InBatch(nn.Module):
    def forward(self, output, target):
        SIZES.append(len(output))
        return (output.flatten() - output.mean()).square().mean() + torch.tensor(float(len(output))).log()
"""


@pytest.fixture
def sizes(experiments: Path) -> list[int]:
    """The sizes of the batches that the loss InBatch has seen."""
    (experiments / "losses.py").write_text(LOSS)
    seen: list[int] = importlib.import_module("experiments.losses").SIZES
    return seen


def of_parts(run: Run, on_disk: bool) -> Run:
    for part in ("train", "valid") if on_disk else ():
        object.__setattr__(run.data, part, OnDisk(getattr(run.data, part)))
    return run


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("batch_size", "eval_batch_size", "most"), [(8, None, 8), (8, 16, 16), (16, 4, 4), (None, None, 64), (None, 5, 5)]
)
def test_no_evaluation_takes_more_at_once(
    start: Start, sizes: list[int], batch_size: int | None, eval_batch_size: int | None, most: int, on_disk: bool
) -> None:
    """Neither a validation, nor that of the training data, nor predictions."""
    chosen = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "monitor": "train/loss"}
    run = of_parts(start(loss=IN_BATCH, epochs=1, **chosen), on_disk)
    sizes.clear()
    measure.validate(run)
    Subject(run).predict(run.data.train)
    assert max(sizes) == most


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_in_batch_loss_is_the_same_in_training_and_validation(start: Start, sizes: list[int], on_disk: bool) -> None:
    still = {"name": "SGD", "lr": 1e-30}
    run = of_parts(start(loss=IN_BATCH, optimizer=still, epochs=1, batch_size=8, shuffle=False), on_disk)
    object.__setattr__(run.data, "valid", run.data.train)
    drive(run)
    trained = [value for _, value in run.history["train/loss"]]
    [(_, validated)] = run.history["valid/loss"]
    assert validated == pytest.approx(sum(trained) / len(trained), rel=1e-6)


@pytest.mark.parametrize("layer", ["experiments.losses.Noisy", "ReLU"])
def test_evaluations_that_draw_neither_change_the_training_nor_their_own_values(
    start: Start, experiments: Path, layer: str
) -> None:
    """Without a block around them (`ReLU` draws nothing, so that there is none), noise would be another each time."""
    (experiments / "losses.py").write_text(LOSS)
    chosen: dict[str, Any] = {"layers": [{"Linear": 4}, layer, {"Linear": 1}], "epochs": 4, "batch_size": 8}
    runs = []
    for every in (1, 4):
        runs.append(start(validate_every=every, **chosen))
        drive(runs[-1])
    often, seldom = runs
    assert list(often.history["train/loss"]) == list(seldom.history["train/loss"])
    assert often.history["valid/loss"][-1] == seldom.history["valid/loss"][-1]
    assert measure.validate(seldom) == measure.validate(seldom)
    assert (often.drawing is contextlib.nullcontext) == (layer == "ReLU")


def test_a_stack_evaluates_in_the_same_batches(start: Start) -> None:
    chosen: dict[str, Any] = {"epochs": 2, "batch_size": 8, "eval_batch_size": 7, "monitor": "train/loss"}
    alone = [start(seed=seed, **chosen) for seed in (0, 1)]
    stacked = [start(seed=seed, **chosen) for seed in (0, 1)]
    seen: list[int] = []
    for run in alone:
        drive(run)
    assert groups(stacked)[0] == [[0, 1]]
    plain = Pool.slice
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "slice", lambda pool, a, b: seen.append(b - a) or plain(pool, a, b))
        drive_many(stacked, [[], []])
    assert max(seen) == 7
    for one, other in zip(alone, stacked, strict=True):
        for name in ("valid/loss", "train/eval_loss"):
            then, now = (torch.tensor([value for _, value in run.history[name]]) for run in (one, other))
            torch.testing.assert_close(then, now, rtol=1e-6, atol=0)


def test_a_record_without_the_key_is_evaluated_as_it_was() -> None:
    """At least 256 of data in memory, and of a dataset as many as were trained on."""
    text = OLD.read_text()
    assert "eval_batch_size" not in text
    trainer = recorded_settings.read(text, "config.yaml").trainer
    assert (trainer.eval_batch_size, trainer.graph) == (EARLIER, None)
    source = Tensors(torch.zeros(1000, 1), torch.zeros(1000, 1))
    disk = OnDisk(source)
    sizes = {size: (evaluation_size(source, t), evaluation_size(disk, t)) for size, t in _trainers().items()}
    assert sizes == {64: (256, 64), 300: (300, 300), None: (None, 256)}
    again = recorded_settings.read(recorded_settings.write(_values(Trainer(batch_size=64))), "config.yaml").trainer
    assert again.eval_batch_size is None


def _trainers() -> dict[int | None, Trainer]:
    return {size: Trainer(batch_size=size, eval_batch_size=EARLIER) for size in (64, 300, None)}


def _values(trainer: Trainer) -> dict[str, Any]:
    return dataclasses.asdict(Settings(trainer=trainer))
