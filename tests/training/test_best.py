"""`best.value` is what `evaluate checkpoint=best` gives on the same data, for every monitor."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from runner.data import Tensors
from runner.training.drive import drive
from runner.training.measure import EVAL_LOSS
from runner.training.run import Run
from runner.training.state import generators
from runner.training.subject import Subject
from runner.training.vectorized import drive_many
from runner.training.vectorized.bests import Bests
from tests.conftest import Start
from tests.support import components
from tests.support.command import Done, newest, runner

#: A model that is another one in training than in evaluation, and training that gets worse again.
LAYERS = [{"Linear": 8}, {"BatchNorm1d": {"momentum": 0.3}}, "Tanh", {"Dropout": 0.3}, {"Linear": 1}]
LINE = {"name": "line", "points": 50, "sigma": 2.0}


def evaluated(run: Run, weights: dict[str, Any], source: Tensors) -> float:
    """The loss of all of `source` by plain torch, with these weights."""
    model = copy.deepcopy(run.model)
    model.load_state_dict(weights)
    with torch.no_grad():
        return float(nn.functional.mse_loss(model.eval()(source.x), source.y))


class Weights:
    """An observer that keeps the weights after every step."""

    def __init__(self, run: Run) -> None:
        self.run, self.after = run, dict[int, dict[str, torch.Tensor]]()

    def record(self, event: Any) -> None:
        self.after.setdefault(self.run.state.step, {k: v.clone() for k, v in self.run.model.state_dict().items()})


@pytest.mark.parametrize(
    ("valid", "monitor", "part"),
    [(0, None, "train"), (0, "train/loss", "train"), (30, "train/loss", "train"), (30, None, "valid")],
)
@pytest.mark.parametrize(
    "trainer",
    [
        {"batch_size": 16, "optimizer": {"name": "SGD", "lr": 0.05}},
        {"batch_size": None, "optimizer": {"name": "SGD", "lr": 0.2}, "validate_every": 2},
        {"batch_size": 8, "accumulate": 3, "optimizer": {"name": "Adam", "lr": 0.02}},
    ],
    ids=["batches", "whole", "accumulated"],
)
def test_the_best_is_the_lowest_loss_of_the_weights_that_are_kept(
    start: Start, valid: int, monitor: str | None, part: str, trainer: dict[str, Any]
) -> None:
    run = start(data={**LINE, "valid": valid}, layers=LAYERS, epochs=12, monitor=monitor, **trainer)
    weights = Weights(run)
    drive(run, weights)
    source = getattr(run.data, part)
    name = EVAL_LOSS if part == "train" else "valid/loss"
    values = {step: evaluated(run, weights.after[step], source) for step, _ in run.history[name]}
    for step, value in run.history[name]:
        assert value == pytest.approx(values[step], rel=1e-5)
    assert run.best.step == min(values, key=lambda step: values[step])
    assert run.best.value == pytest.approx(min(values.values()), rel=1e-5)
    assert run.best.weights is not None
    assert evaluated(run, run.best.weights, source) == pytest.approx(run.best.value, rel=1e-5)
    assert evaluated(run, weights.after[run.state.step], source) == evaluated(run, run.model.state_dict(), source)


def test_the_loss_of_a_step_is_not_that_of_the_weights_it_leaves(start: Start) -> None:
    """The control: measured before the update, the smallest training loss belongs to other weights."""
    run = start(data={**LINE, "valid": 0}, epochs=6, optimizer={"name": "SGD", "lr": 1.4})
    weights = Weights(run)
    drive(run, weights)
    before, after = dict(run.history["train/loss"]), dict(run.history[EVAL_LOSS])
    for step in range(1, 6):
        assert before[step + 1] == pytest.approx(after[step], rel=1e-6)
        assert before[step] != pytest.approx(after[step], rel=1e-3)


def test_early_stopping_and_plateaus_go_by_the_evaluated_training_loss(start: Start) -> None:
    run = start(
        data={**LINE, "valid": 0},
        epochs=40,
        monitor="train/loss",
        patience=2,
        optimizer={"name": "SGD", "lr": 3.5},
        scheduler={"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5},
    )
    drive(run)
    values = [value for _, value in run.history[EVAL_LOSS]]
    worse = sum(now >= min(values[:i]) for i, now in enumerate(values) if i)
    rate = run.state.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(3.5 * 0.5**worse)
    assert not run.stopped or run.best.stale == 2


@pytest.mark.parametrize("valid", [0, 30])
def test_models_as_one_program_have_the_best_that_each_has_alone(start: Start, valid: int) -> None:
    def make() -> list[Run]:
        return [
            start(
                data={**LINE, "valid": valid}, layers=LAYERS, epochs=6, batch_size=16, seed=seed,
                monitor="train/loss", optimizer={"name": "SGD", "lr": lr},
            )
            for seed, lr in ((0, 0.01), (1, 0.03), (2, 0.06))
        ]  # fmt: skip

    together, alone = make(), make()
    assert drive_many(together, [[] for _ in together]) == [None] * 3
    for one, other in zip(together, alone, strict=True):
        generators.set_random_state(other.ready, other.device)  # preparing the others has drawn from it
        drive(other)
        assert one.best.step == other.best.step
        assert one.best.value == pytest.approx(other.best.value, rel=1e-4)
        assert [step for step, _ in one.history[EVAL_LOSS]] == [step for step, _ in other.history[EVAL_LOSS]]


def test_a_save_that_fails_leaves_the_weights_that_are_trained(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(data={**LINE, "valid": 20}, epochs=8, optimizer={"name": "SGD", "lr": 1.5})
    drive(run)
    last = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert run.best.step < run.state.step
    run.written.steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            "runner.training.state.checkpoint.save", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left"))
        )
        with pytest.raises(OSError, match="no space"):
            list(run.best_snapshot())
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, last[name])


def test_many_runs_copy_their_best_weights_out_of_the_stack_only_where_they_are_needed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most twice for a checkpoint: to compare them with the present ones, and to write them."""
    reads, real = list[int](), Bests.weights
    monkeypatch.setattr(Bests, "weights", lambda self, i: (reads.append(i), real(self, i))[1])
    runs = [start(data={**LINE, "valid": 20}, layers=LAYERS, epochs=4, every="1 epochs", seed=i) for i in range(3)]
    assert drive_many(runs, [[] for _ in runs], draw=lambda *_: None) == [None] * 3
    written = sum(1 for run in runs for _ in run.folder.glob("best-*"))
    assert written >= 3, "the control: there were checkpoints"
    assert 0 < len(reads) <= 2 * 3 * 4


#: Commands whose training gets worse before it ends, so that best and last are different models.
WORSE = (
    "experiments=diabetes model=mlp model.knobs.outputs=1 optimizer=adam optimizer.lr=0.02 trainer.epochs=20"
    " trainer.validate_every=1 trainer.batch_size=32 trainer.patience=null plots=[predicted_vs_true]"
)


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """A store with runs tested with their best and their last weights, and one without validation data."""
    place = tmp_path_factory.mktemp("best")
    shutil.copy(empty_store, place / "mlflow.db")
    words = {
        "best": WORSE,
        "last": f"{WORSE} trainer.test_checkpoint=last",
        "blind": f"{WORSE} data.valid=0 optimizer.lr=0.2".replace("optimizer.lr=0.02 ", ""),
        "metric": f"{WORSE} trainer.monitor=valid/R2Score",
    }
    return place, {name: runner(*text.split(), cwd=place) for name, text in words.items()}


def recorded(place: Path, done: Done) -> tuple[Any, Path]:
    run = MlflowClient(f"sqlite:///{place}/mlflow.db").get_run(done.run_id)
    return run, Path(run.info.artifact_uri.removeprefix("file://"))


def figures(done: Done) -> dict[str, float]:
    pairs = [word.split("=") for word in done.last.split()[2:]]
    return {key: float(value) for key, value in pairs if "/" in key}


@pytest.mark.parametrize("name", ["best", "last", "blind", "metric"])
def test_best_value_is_what_evaluate_gives(trained: tuple[Path, dict[str, Done]], name: str) -> None:
    place, done = trained[0], trained[1][name]
    tags = recorded(place, done)[0].data.tags
    metric = tags["best.metric"]
    again = runner("evaluate", done.run_id, f"split={metric.split('/')[0]}", cwd=place)
    assert figures(again)[metric] == float(tags["best.value"])
    assert f"checkpoint=best step={tags['best.step']} " in again.last
    assert "recorded" in again.out
    if name == "blind":
        assert metric == "train/loss"


@pytest.mark.parametrize("name", ["best", "last", "blind", "metric"])
def test_test_figures_and_predictions_are_of_the_checkpoint_that_is_named(
    trained: tuple[Path, dict[str, Done]], name: str
) -> None:
    place, done = trained[0], trained[1][name]
    run, artifacts = recorded(place, done)
    checkpoint = "last" if name == "last" else "best"
    step = int(newest(artifacts, checkpoint).name.rpartition("-")[2])
    assert (run.data.tags["test.checkpoint"], run.data.tags["test.step"]) == (checkpoint, str(step))
    assert done.last.endswith(f"test.checkpoint={checkpoint} test.step={step}")
    again = runner("evaluate", done.run_id, f"checkpoint={checkpoint}", cwd=place)
    assert {key: run.data.metrics[key] for key in figures(again)} == figures(again)
    other = runner("evaluate", done.run_id, f"checkpoint={'best' if name == 'last' else 'last'}", cwd=place)
    if name != "blind":  # whose training loss fell to the end, so that both are one
        assert figures(other)["test/loss"] != run.data.metrics["test/loss"]
    outputs = np.load(artifacts / "predictions.npy")
    import runner as package

    data = package.load(done.run_id, f"sqlite:///{place}/mlflow.db", checkpoint, raw=False)
    from runner.tracking.read import recall

    whole = components.data(recall.settings(f"sqlite:///{place}/mlflow.db", done.run_id).data)
    source = whole.valid or whole.train
    size = recall.settings(f"sqlite:///{place}/mlflow.db", done.run_id).trainer.batch_size
    with torch.no_grad():
        parts = [data(x) for x in source.x.split(size)]  # type: ignore[union-attr,arg-type]
        assert np.array_equal(outputs, torch.cat(parts).numpy())


def test_a_first_layer_that_works_in_place_does_not_change_what_is_shown(start: Start) -> None:
    run = start(
        data={"name": "values", "x": [[[[-1.0, 2.0], [3.0, -4.0]]]], "y": [1.0]},
        layers=[
            {"ReLU": {"inplace": True}},
            {"Conv2d": {"out_channels": 1, "kernel_size": 1}},
            "Flatten",
            {"Linear": 1},
        ],
        epochs=1,
        plots=["feature_maps"],
    )
    drive(run)
    given = torch.tensor([[[[-1.0, 2.0], [3.0, -4.0]]]])
    assert torch.equal(Subject(run).predict(run.data.train)[0], given)
    assert torch.equal(run.data.train.x, given)  # type: ignore[union-attr]
    run.parts.plots["feature_maps"](Subject(run))
    assert torch.equal(run.data.train.x, given)  # type: ignore[union-attr]
