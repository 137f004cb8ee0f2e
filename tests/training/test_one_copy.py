"""Data are in memory once: for all jobs of a sweep that read the same, for a run that reads them whole, at its end."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from runner.data import BLOCK, Tensors
from runner.settings import Settings
from runner.sweeps.manifest import Job
from runner.sweeps.run.drawing import InlineRenderer
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.open_runs import Desk
from runner.training import measure
from runner.training.drive import drive
from runner.training.parts import data_cache
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.subject import Subject
from runner.training.vectorized import drive_many, shared
from runner.training.vectorized.program import Program
from runner.training.vectorized.shared import Shared
from tests.conftest import Start, settings
from tests.support.on_disk import OnDisk

Make = Callable[..., Run]
OWN = """
import torch
from torch import nn

class Doubles(nn.Module):
    def forward(self, x):
        return x.mul_(2)

def nothing(run):
    from matplotlib.figure import Figure
    run.data.train.x.zero_()
    return Figure()
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(data_cache, "_cache", {})
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(60, 1)).astype(np.float32)
    np.savez("xy.npz", x=x, y=y, x_valid=x[:20] + 1, y_valid=y[:20], x_test=x[:9] - 1, y_test=y[:9])
    return {"name": "arrays", "path": "xy.npz"}


@pytest.fixture
def make() -> Iterator[Make]:
    runs: list[Run] = []
    yield lambda told: runs.append(prepare(told, "test")) or runs[-1]
    for run in runs:
        run.close()


def jobs(data: dict[str, Any], **changes: Any) -> list[Settings]:
    return [settings(data=data, optimizer={"name": "SGD", "lr": lr}, **changes) for lr in (0.01, 0.02, 0.03)]


def storages(runs: list[Run]) -> int:
    """How many pieces of memory hold the runs' data."""
    parts = [part for run in runs for part in (run.data.train, run.data.valid, run.data.test)]
    tensors = [tensor for part in parts if isinstance(part, Tensors) for tensor in (part.x, part.y)]
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors})


def sharing(runs: list[Run]) -> list[Run]:
    one = Shared()
    for run in runs:
        one.take(run)
    return runs


# ------------------------------------------------------------------------------------------------- jobs of a sweep


def test_runs_that_read_the_same_hold_one_copy(files: dict[str, Any], make: Make) -> None:
    runs = [make(told) for told in jobs(files)]
    assert storages(runs) == 3 * 6
    assert storages(sharing(runs)) == 6


def test_a_program_reads_the_data_where_they_are(files: dict[str, Any], make: Make) -> None:
    runs = sharing([make(told) for told in jobs(files)])
    program = Program(runs)
    train, valid = runs[0].data.train, runs[0].data.valid
    assert isinstance(train, Tensors)
    assert isinstance(valid, Tensors)
    assert program.validation.valid is not None
    assert program.validation.train.x.data_ptr() == train.x.data_ptr()
    assert program.validation.valid.x.data_ptr() == valid.x.data_ptr()


@pytest.mark.parametrize("size", [None, 16])
def test_what_runs_share_stays_as_it_is_and_so_do_their_numbers(
    files: dict[str, Any], make: Make, size: int | None
) -> None:
    layers = [{"ReLU": {"inplace": True}}, {"Linear": 6}, {"ReLU": {"inplace": True}}, {"Linear": 1}]
    told = jobs(files, layers=layers, batch_size=size, epochs=4)
    runs, others = sharing([make(one) for one in told]), [make(one) for one in told]
    before = [part.x.clone() for part in (runs[0].data.train, runs[0].data.valid, runs[0].data.test)]  # type: ignore[union-attr]
    assert drive_many(runs, [[] for _ in runs]) == [None] * 3
    assert drive_many(others, [[] for _ in others]) == [None] * 3
    for part, x in zip((runs[0].data.train, runs[0].data.valid, runs[0].data.test), before, strict=True):
        assert torch.equal(part.x, x)  # type: ignore[union-attr]
    for one, other in zip(runs, others, strict=True):
        assert dict(one.history) == dict(other.history)
        assert all(map(torch.equal, one.model.state_dict().values(), other.model.state_dict().values()))


def test_other_data_and_code_of_ones_own_keep_a_copy_of_their_own(
    files: dict[str, Any], make: Make, experiments: Path
) -> None:
    (experiments / "own.py").write_text(OWN)
    one = settings(data=files)
    for other in (
        settings(data={**files, "seed": 1, "valid": 0.3}),
        settings(data={"name": "line", "points": 64, "valid": 40}),
        settings(data=files, layers=["experiments.own.Doubles", {"Linear": 1}]),
        settings(data=files, plots=["experiments.own.nothing"]),
    ):
        runs = [make(one), make(other)]
        before = storages(runs)
        assert storages(sharing(runs)) == before


@pytest.mark.parametrize("guarded", [True, False])
def test_a_plot_of_ones_own_that_writes_into_its_data_changes_no_other_run(
    files: dict[str, Any], make: Make, experiments: Path, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (experiments / "own.py").write_text(OWN)
    if not guarded:
        monkeypatch.setattr(shared, "has_own", lambda run: False)
    one, other = sharing([make(told) for told in jobs(files, plots=["experiments.own.nothing"])[:2]])
    drive(one)
    assert bool(other.data.train.x.any()) is guarded  # type: ignore[union-attr]


def test_files_that_changed_are_not_taken_for_the_same(files: dict[str, Any], make: Make) -> None:
    runs = [make(settings(data=files))]
    with np.load("xy.npz") as held:
        arrays = dict(held)
    arrays["x"][7, 3] += 1e-3
    np.savez("xy.npz", **arrays)
    runs.append(make(settings(data=files)))
    assert storages(sharing(runs)) == 12 - 4, "all but the training data, in which one number is another"


def test_a_layer_of_ones_own_that_works_in_place_leaves_the_data_of_a_program_alone(
    files: dict[str, Any], make: Make, experiments: Path
) -> None:
    (experiments / "own.py").write_text(OWN)
    told = jobs(files, layers=["experiments.own.Doubles", {"Linear": 1}], epochs=4)
    runs, others = [make(one) for one in told], [make(one) for one in told]
    assert drive_many(runs, [[] for _ in runs]) == [None] * 3
    for one, other in zip(runs, others, strict=True):
        drive(other)
        losses = [[value for _, value in run.history["train/loss"]] for run in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("small", [True, False])
def test_jobs_of_a_sweep_begin_with_one_copy_and_let_it_go(
    files: dict[str, Any], small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small data stays for the next jobs as long as the desk does."""
    monkeypatch.setattr(data_cache, "MOST", 2**28 if small else 0)
    desk = Desk(SweepInfo("", "test", "valid/loss", "sqlite:///mlflow.db"), InlineRenderer(), 0)
    config = dataclasses.asdict(settings(data=files))
    members = [desk.begin(Job(number, [], {}, config)) for number in range(3)]
    runs = [member.run for member in members if member is not None]
    assert (len(runs), storages(runs)) == (3, 6)
    train = weakref.ref(runs[0].data.train)
    for run in runs:
        run.close()
    del members, run, runs
    gc.collect()
    assert (train() is None) is not small
    del desk
    gc.collect()
    assert train() is None


# --------------------------------------------------------------------------------------------------- a run by itself


def test_a_run_on_all_of_its_data_reads_them_where_they_are(files: dict[str, Any], make: Make) -> None:
    run = make(settings(data=files))
    train = run.data.train
    assert isinstance(train, Tensors)
    [(_, (x, _))] = next(run.batches())
    assert x.data_ptr() == train.x.data_ptr()
    assert [batch[0].data_ptr() for batch in measure.reading(run, train)] == [train.x.data_ptr()]


@pytest.mark.parametrize("layers", [[{"ReLU": {"inplace": True}}], ["experiments.own.Doubles"]])
def test_one_whose_layers_may_write_reads_a_copy(
    files: dict[str, Any], make: Make, experiments: Path, layers: list[Any]
) -> None:
    (experiments / "own.py").write_text(OWN)
    run = make(settings(data=files, layers=[*layers, {"Linear": 1}]))
    train = run.data.train
    assert isinstance(train, Tensors)
    before = train.x.clone()
    drive(run)
    assert torch.equal(train.x, before)
    assert run.copies
    again = make(run.settings)
    again.__dict__["copies"] = False
    with pytest.raises(AssertionError, match="written into the data"):
        drive(again)


def test_a_write_that_nobody_expected_is_no_secret() -> None:
    source = Tensors(torch.ones(3, 1), torch.ones(3, 1))
    batches = source.whole(copies=False)
    next(batches)[0].mul_(2)
    with pytest.raises(AssertionError, match="written into the data"):
        next(batches)


# ---------------------------------------------------------------------------------------------------- the end of a run


def inputs_held() -> int:
    """Bytes of all tensors in memory that hold images of the digits."""
    tensors = [one for one in gc.get_objects() if type(one) is Tensor and one.shape[1:] == (1, 8, 8)]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def test_predictions_and_plots_hold_no_inputs_but_those_of_a_batch(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(
        data={"name": "digits", "valid": 0.5},
        layers=["Flatten", {"Linear": 10}],
        loss={"name": "CrossEntropyLoss"},
        epochs=1,
        batch_size=64,
        plots=["confusion_matrix", "examples", "loss_curve"],
    )
    object.__setattr__(run.data, "valid", OnDisk(run.data.valid))  # type: ignore[arg-type]
    reading, held, most = measure.reading, inputs_held(), 0

    def watched(run: Run, source: Any) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal most
        for x, y in reading(run, source):
            most = max(most, inputs_held() - held)
            yield x, y

    monkeypatch.setattr(measure, "reading", watched)
    drive(run)
    batch = 256 * 64 * 4  # of those that nothing is trained on
    assert 0 < most <= 2 * batch + BLOCK, "and those that are trained on, picked together"
    y, output = Subject(run).outputs(run.data.valid)  # type: ignore[arg-type]
    x, same_y, same_output = Subject(run).predict(run.data.valid)  # type: ignore[arg-type]
    assert torch.equal(y, same_y)
    assert torch.equal(output, same_output)
    assert torch.equal(x, run.data.valid.inner.x)  # type: ignore[union-attr]
    assert most > 2 * batch, "who asks for the inputs as well gets them all"
