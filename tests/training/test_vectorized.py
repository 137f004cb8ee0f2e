"""Many runs trained as one program are each the run that it would have been alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.model import host
from runner.settings import Settings
from runner.training import measure
from runner.training.capture import recording
from runner.training.drive import drive
from runner.training.events import Artifacts, Epoch, Event, Finished, Snapshot, Step
from runner.training.finite import Diverged
from runner.training.parts.metric_sums import MetricValues
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint, generators
from runner.training.vectorized import blocks, drive_many, feed, groups, team, testing, update, ways
from runner.training.vectorized.draws import RandomStates
from runner.training.vectorized.program import Program
from tests.conftest import settings

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "SGD", "lr": 0.05, "weight_decay": 1e-3},
    "momentum": {"name": "SGD", "lr": 0.05, "momentum": 0.9, "dampening": 0.1},
    "nesterov": {"name": "SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "adam": {"name": "Adam", "lr": 0.01, "weight_decay": 1e-3},
    "amsgrad": {"name": "Adam", "lr": 0.01, "amsgrad": True},
    "adamw": {"name": "AdamW", "lr": 0.01},
    "rmsprop": {"name": "RMSprop", "lr": 0.01, "weight_decay": 1e-3},
    "rmsprop with momentum": {"name": "RMSprop", "lr": 0.001, "momentum": 0.5},
    "rmsprop centered": {"name": "RMSprop", "lr": 0.001, "momentum": 0.5, "centered": True},
}
#: Before BatchNorm, which takes away what a bias adds: see test_a_bias_that_does_nothing_runs_alone.
BARE = {"Linear": {"out_features": 6, "bias": False}}
LAYERS: dict[str, list[Any]] = {
    "plain": [{"Linear": 6}, "Tanh", {"Linear": 1}],
    "dropout": [{"Linear": 6}, "ReLU", {"Dropout": 0.4}, {"Linear": 6}, "GELU", {"Dropout": 0.2}, {"Linear": 1}],
    "batchnorm": [BARE, "BatchNorm1d", "ReLU", {"Linear": 1}],
    "both": [BARE, "BatchNorm1d", "ReLU", {"Dropout": 0.4}, {"Linear": 1}],
}
#: Epochs of five batches of 8, the last of 7: 50 steps.
EPOCHS, POINTS = 10, 39
#: Files of examples: five numbers in, one out.
PLACE: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory) -> None:
    for i, name in enumerate(("one", "other")):
        rng = np.random.default_rng(i)
        x, x_valid = (rng.normal(size=(n, 5)).astype(np.float32) for n in (POINTS, 300))
        y, y_valid = (np.sin(part.sum(1, keepdims=True)) for part in (x, x_valid))
        PLACE[name] = str(tmp_path_factory.mktemp("examples") / f"{name}.npz")
        np.savez(PLACE[name], x=x, y=y, x_valid=x_valid, y_valid=y_valid)
    PLACE["two"] = str(tmp_path_factory.mktemp("examples") / "two.npz")
    np.savez(
        PLACE["two"],
        x=x,
        y=(y[:, 0] > 0).astype(np.int64),
        x_valid=x_valid,
        y_valid=(y_valid[:, 0] > 0).astype(np.int64),
    )


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def jobs(n: int = 3, layers: Any = "plain", optimizer: str | dict[str, Any] = "sgd", **changes: Any) -> list[Settings]:
    """The same with seeds, learning rates, weight decays and momenta of their own."""
    found = []
    for i in range(n):
        told = dict(OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer)
        told["lr"] *= 1 + i / 2
        for name in ("weight_decay", "momentum"):
            if told.get(name):
                told[name] *= 0.8**i
        given = {
            "layers": LAYERS[layers] if isinstance(layers, str) else layers,
            "data": {"name": "arrays", "path": PLACE.get("one"), "valid": 0.0, "test": 0.0},
            "batch_size": 8,
            "epochs": EPOCHS,
            "precision": "fp64",
            **changes,
        }
        found.append(settings(optimizer=told, seed=10 + i, **given))
    return found


@pytest.fixture
def made() -> Iterator[Callable[[Settings], Run]]:
    runs: list[Run] = []
    yield lambda told: runs.append(prepare(told, "test")) or runs[-1]
    for run in runs:
        run.close()


Made = Callable[[Settings], Run]


def alone(made: Made, told: list[Settings]) -> tuple[list[Run], list[Seen], list[BaseException | None]]:
    runs, seen, errors = [], [], []
    for one in told:
        runs.append(made(one))
        seen.append(Seen())
        error: BaseException | None = None
        try:
            drive(runs[-1], seen[-1])
        except Exception as raised:
            error = raised
        errors.append(error)
    return runs, seen, errors


def together(made: Made, told: list[Settings]) -> tuple[list[Run], list[Seen], list[BaseException | None]]:
    runs, seen = [made(one) for one in told], [Seen() for _ in told]
    assert groups(runs) == ([list(range(len(runs)))], {})
    return runs, seen, drive_many(runs, [[one] for one in seen])


def difference(one: Any, other: Any) -> float:
    """The largest between the numbers of two nested things of one shape."""
    if isinstance(one, Tensor):
        assert one.shape == other.shape
        return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0
    if isinstance(one, dict):
        assert one.keys() == other.keys(), (one.keys(), other.keys())
        return max((difference(v, other[k]) for k, v in one.items()), default=0.0)
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, int | float):
        return abs(one - other) if one == one or other == other else 0.0  # NaN is as much as NaN
    assert one == other
    return 0.0


def apart(runs: list[Run], others: list[Run]) -> float:
    """How far runs are from each other: weights, statistics, all that a checkpoint holds, and the curves."""
    return max(
        difference(
            [run.model.state_dict(), run.state_dict(), curves(run)],
            [other.model.state_dict(), other.state_dict() | {"random": run.state_dict()["random"]}, curves(other)],
        )
        for run, other in zip(runs, others, strict=True)
    )


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    return {name: list(points) for name, points in run.history.items()}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_together_is_alone_in_float64(made: Made, optimizer: str, layers: str) -> None:
    told = jobs(layers=layers, optimizer=optimizer)
    runs, seen, errors = together(made, told)
    others, expected, _ = alone(made, told)
    assert errors == [None] * 3
    assert runs[0].state.step == 50
    assert apart(runs, others) < 1e-10
    for one, other in zip(seen, expected, strict=True):
        assert [type(e) for e in one.events] == [type(e) for e in other.events]
        assert difference([e.metrics for e in one.of(Epoch)], [e.metrics for e in other.of(Epoch)]) < 1e-10
        assert [e.reason for e in one.of(Finished)] == [e.reason for e in other.of(Finished)]


@pytest.mark.parametrize("layers", ["plain", "both"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_together_is_alone_in_float32(made: Made, optimizer: str, layers: str) -> None:
    told = jobs(layers=layers, optimizer=optimizer, precision="fp32", epochs=4)
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert runs[0].state.step == 20
    assert apart(runs, others) < 1e-5


@pytest.mark.parametrize("layers", ["plain", "dropout", "batchnorm"])
def test_the_law_fails_when_two_share_their_batches(made: Made, monkeypatch: pytest.MonkeyPatch, layers: str) -> None:
    order = feed._order
    monkeypatch.setattr(feed, "_order", lambda run, epoch, total: order(shared, epoch, total))
    told = jobs(layers=layers)
    shared = made(told[0])
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs[:1], others[:1]) < 1e-10
    assert apart(runs[1:], others[1:]) > 1e-4


def test_the_law_fails_when_two_share_their_draws(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    told = jobs(layers="dropout")
    runs, seen = [made(one) for one in told], [Seen() for _ in told]
    dropout_mask = RandomStates.dropout_mask

    def same(random_states: RandomStates, layer: Any, shape: Any, drop: Any, dtype: Any) -> Tensor:
        return dropout_mask(random_states, layer, shape, drop, dtype)[:1].expand(len(drop), *shape)

    monkeypatch.setattr(RandomStates, "dropout_mask", same)
    drive_many(runs, [[one] for one in seen])
    others, _, _ = alone(made, told)
    assert apart(runs[:1], others[:1]) < 1e-10
    assert apart(runs[1:], others[1:]) > 1e-4


SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine by epochs": {"name": "CosineAnnealingLR"},
    "cosine by steps": {"name": "CosineAnnealingLR", "interval": "step"},
    "one cycle, of momentum as well": {"name": "OneCycleLR", "max_lr": 0.1},
    "plateau": {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5, "threshold": 0.3},
}


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_run_has_its_own_schedule(made: Made, schedule: str, optimizer: str) -> None:
    told = jobs(optimizer=optimizer, scheduler=SCHEDULES[schedule])
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert len({value for _, value in runs[0].history["lr"]}) > 1
    assert apart(runs, others) < 1e-10


VARIANTS: dict[str, dict[str, Any]] = {
    "clipped": {"clip_norm": 0.05, "clip_value": 0.03},
    "all in one batch": {"batch_size": None, "epochs": 50},
    "in order": {"shuffle": False},
    "last batch left out": {"drop_last": True},
    "sum": {"loss": {"name": "MSELoss", "reduction": "sum"}, "optimizer": {"name": "SGD", "lr": 1e-4}},
    "huber": {"loss": {"name": "HuberLoss", "delta": 0.1}},
    "metrics": {"metrics": ["MeanAbsoluteError"], "validate_every": 3},
    "three threads": {"threads": 3},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_are_kept(made: Made, variant: str) -> None:
    told = jobs(layers="both", **VARIANTS[variant])
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


IMAGES: dict[str, list[Any]] = {
    "convolutions": [
        {"Conv2d": {"out_channels": 4, "kernel_size": 3, "bias": False}},
        "BatchNorm2d",
        "ReLU",
        {"Dropout2d": 0.3},
        {"MaxPool2d": 2},
        {"Conv2d": {"out_channels": 6, "kernel_size": 3, "groups": 2, "bias": False}},
        "Flatten",
        {"Dropout": 0.2},
        {"Linear": 10},
    ],
    "nested": [
        "Flatten",
        {"Linear": 12},
        {"Residual": {"layers": [{"Linear": 12}, "LayerNorm", "ReLU", {"Dropout": 0.3}]}},
        {"Parallel": {"branches": [[{"Linear": 3}], [{"Linear": 4}, {"Dropout": 0.1}]]}},
        {"Linear": 10},
    ],
    "one by vmap": ["Flatten", {"Linear": 12}, {"GroupNorm": 3}, "PReLU", {"Softmax": 1}, {"Linear": 10}],
}


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
@pytest.mark.parametrize("layers", IMAGES)
def test_images_and_classes(made: Made, layers: str, optimizer: str) -> None:
    changes = {"loss": {"name": "CrossEntropyLoss", "label_smoothing": 0.1}, "metrics": ["Accuracy"]}
    told = jobs(
        layers=IMAGES[layers],
        optimizer=optimizer,
        data={"name": "digits", "valid": 0.2, "test": 0.7},
        batch_size=64,
        epochs=2,
        **changes,
    )
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


def test_weights_of_classes(made: Made) -> None:
    told = jobs(
        layers=["Flatten", {"Linear": 10}],
        data={"name": "digits", "valid": 0.2, "test": 0.7},
        loss={"name": "CrossEntropyLoss", "weight": [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]},
        batch_size=64,
        epochs=2,
    )
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


LARGE = [{"Linear": 80}, "ReLU", {"Linear": 80}, "Tanh", {"Linear": 1}]


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "adamw", "momentum", "rmsprop"])
def test_a_large_model(made: Made, optimizer: str) -> None:
    """Which takes torch's fused step where there is one, and the others parameter by parameter."""
    told = jobs(layers=LARGE, optimizer=optimizer)
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


def test_neighbours_take_the_fused_step_at_once_while_their_settings_are_the_same(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = jobs(6, layers=LARGE, optimizer="adam")
    for i, one in enumerate(told):
        one.optimizer |= {"lr": [0.01, 0.01, 0.02, 0.02, 0.02, 0.01][i], "weight_decay": 0.0}
        one.scheduler = None if i == 3 else {"name": "StepLR", "step_size": 2, "gamma": 0.5}
    steps: list[int] = []
    step = ways.Fused.step
    monkeypatch.setattr(ways.Fused, "step", lambda self, *a: (step(self, *a), steps.append(len(self._pieces)))[0])
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert len({run.history["lr"][-1] for run in runs}) == 3
    assert steps[0] == 2  # learning rates, of whoever
    assert steps[-1] == 3  # one of the three that had 0.02 has no schedule
    assert apart(runs, others) < 1e-10


def test_observers_are_told_in_the_order_of_the_jobs(made: Made) -> None:
    """Whatever order they are stacked in: what a pruner is told first goes on."""
    told = jobs(4)
    for one, rate in zip(told, (0.04, 0.02, 0.03, 0.01), strict=True):
        one.optimizer["lr"] = rate
    order: list[tuple[int, int]] = []

    class Notes:
        def __init__(self, number: int) -> None:
            self.number = number

        def record(self, event: Event) -> None:
            if isinstance(event, Epoch):
                order.append((event.epoch, self.number))

    drive_many([made(one) for one in told], [[Notes(i)] for i in range(4)])
    assert order == sorted(order)
    assert len(order) == 4 * EPOCHS


@pytest.mark.parametrize("size", [0, 1, 2**30])
@pytest.mark.parametrize("optimizer", ["adam", "nesterov", "rmsprop centered"])
def test_however_the_numbers_of_a_step_are_cut(
    made: Made, optimizer: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "FUSED", 2**30)
    monkeypatch.setattr(ways, "WHOLE", size)
    monkeypatch.setattr(ways, "BLOCK", max(size, 1))
    told = jobs(4, optimizer=optimizer)
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


#: (data, metrics, how many of them are counted for all runs together)
METRICS: dict[str, tuple[dict[str, Any], list[Any], int]] = {
    "classes": (
        {"name": "digits", "flat": True, "valid": 0.2, "test": 0.7},
        [
            "Accuracy",
            {"F1Score": {"average": "macro"}},
            {"torchmetrics.classification.MulticlassAccuracy": {"top_k": 2}},
        ],
        1,
    ),
    "numbers": ({"name": "diabetes"}, ["MeanSquaredError", "R2Score", "MeanAbsoluteError"], 2),
    "two classes": ({"name": "arrays", "path": "two", "task": "classification"}, ["MeanSquaredError", "Accuracy"], 0),
}
LOSSES = {"classes": ("CrossEntropyLoss", 10), "numbers": ("MSELoss", 1), "two classes": ("BCEWithLogitsLoss", 1)}


@pytest.mark.parametrize("task", METRICS)
def test_metrics_are_those_of_each_run(made: Made, task: str) -> None:
    data, metrics, counted = METRICS[task]
    loss, outputs = LOSSES[task]
    data = data | ({"path": PLACE["two"]} if "path" in data else {})
    told = jobs(4, layers=[{"Linear": outputs}], data=data, loss={"name": loss}, metrics=metrics)
    runs = [made(one) for one in told]
    assert len(MetricValues(runs, [0])._counts) == counted
    found = Program(runs).validation.values([1, 3])
    for i, values in zip((1, 3), found, strict=True):
        expected = measure.values(runs[i], runs[i].data.valid, "valid")  # type: ignore[arg-type]
        assert list(values) == list(expected)
        assert values == pytest.approx(expected, rel=1e-6)


def test_an_index_that_is_ignored_is_ignored_wherever_it_stands(made: Made, tmp_path: Path) -> None:
    """In the validation data alone, or in the data of the second job alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    for name, train in (("a", [0, 1]), ("b", [0, 1, 2, 0])):
        y, y_valid = np.resize(train, 40), np.resize([0, 1, 2], 40)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, x_valid=x, y_valid=y_valid)
    loss = {"name": "CrossEntropyLoss", "ignore_index": 2}
    told = jobs(2, layers=[{"Linear": 3}], loss=loss, data={"name": "arrays", "path": str(tmp_path / "a.npz")})
    told[1].data = told[1].data | {"path": str(tmp_path / "b.npz")}
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


def test_a_parameter_that_is_a_single_number_is_clipped(made: Made, experiments: Path) -> None:
    (experiments / "scaled.py").write_text(
        "import torch\nclass Scale(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.tensor(1.0))\n"
        "    def forward(self, x):\n        return x * self.scale\n"
    )
    told = jobs(3, layers=[{"Linear": 4}, "experiments.scaled.Scale", {"Linear": 1}], clip_norm=0.05)
    runs, _, errors = together(made, told)
    others, _, _ = alone(made, told)
    assert errors == [None] * 3
    assert apart(runs, others) < 1e-10


def test_pieces_of_a_step() -> None:
    """One of each parameter where there is room, else as many models as there is room for, and at least one."""
    flats = [[torch.zeros(6, 10), torch.zeros(6, 1)] for _ in range(2)]
    for block, sizes in ((60, [6, 6]), (20, [2, 2, 2, 6]), (1, [1] * 12)):
        pieces = list(ways.pieces(flats, block))
        assert [len(parts[0]) for _, parts in pieces] == sizes
        assert all(len(parts) == 2 for _, parts in pieces)


def test_a_metric_that_not_all_have_is_counted_for_each(made: Made) -> None:
    told = jobs(3, metrics=["MeanAbsoluteError"])
    told[1].metrics = ["MeanSquaredError"]
    told[2].metrics = ["MeanSquaredError", "MeanAbsoluteError"]
    runs = [made(one) for one in told]
    for run, values in zip(runs, Program(runs).validation.values([0, 1, 2]), strict=True):
        assert values == pytest.approx(measure.values(run, run.data.valid, "valid"))  # type: ignore[arg-type]


def test_shares_of_the_work_on_several_threads(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "WORTH", 1)
    told = jobs(5, layers="both", optimizer="adam", threads=2, metrics=["MeanAbsoluteError"])
    told[1].trainer.epochs = 4
    runs, _, _ = together(made, told)
    assert torch.get_num_threads() == 2
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


def test_every_run_may_have_its_own_data_and_dropout(made: Made) -> None:
    told = jobs(layers="dropout")
    told[1].data = {**told[1].data, "path": PLACE["other"]}
    told[2].model.layers = [{"Linear": 6}, "ReLU", {"Dropout": 0}, {"Linear": 6}, "GELU", {"Dropout": 1}, {"Linear": 1}]
    runs, _, _ = together(made, told)
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


def test_a_run_that_stops_early_leaves_the_others_alone(made: Made) -> None:
    told = jobs(layers="both", optimizer="adam")
    told[0].trainer.patience, told[0].trainer.min_delta = 2, 10.0
    told[1].trainer.epochs = 4
    runs, seen, errors = together(made, told)
    others, _, _ = alone(made, told)
    assert errors == [None] * 3
    assert [run.state.step for run in runs] == [15, 20, 50]
    assert "no better" in seen[0].of(Finished)[0].reason
    assert apart(runs, others) < 1e-10


@pytest.mark.parametrize("way", ["in one pass", "each by itself", "each by itself after an error"])
@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_runs_that_end_together_are_measured_as_each_alone(
    made: Made, monkeypatch: pytest.MonkeyPatch, checkpoint: str, way: str
) -> None:
    data = {"name": "arrays", "path": PLACE["one"], "valid": 0.0, "test": 0.2}
    told = jobs(3, data=data, metrics=["MeanAbsoluteError"], test_checkpoint=checkpoint)
    single, shown, _ = alone(made, told)
    if way == "in one pass":
        monkeypatch.setattr(measure, "values", None)
        monkeypatch.setattr(measure, "outputs", None)
    else:
        monkeypatch.setattr(testing, *(("SHARE", 0) if way == "each by itself" else ("_outputs", None)))
    many, seen, errors = together(made, told)
    assert errors == [None] * 3
    assert apart(many, single) < 1e-10
    assert all("test/MeanAbsoluteError" in run.history for run in many)
    found, expected = ([np.load(predictions(one)) for one in part] for part in (seen, shown))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def predictions(seen: Seen) -> Path:
    [path] = [path for event in seen.of(Artifacts) for path in event.folder.glob("predictions.npy")]
    return path


def test_a_run_that_diverges_leaves_the_others_alone(made: Made) -> None:
    told = jobs(layers="both")
    told[1].optimizer["lr"] = 1e200
    runs, seen, errors = together(made, told)
    others, _, expected = alone(made, told)
    assert [type(error) for error in errors] == [type(None), Diverged, type(None)]
    assert str(errors[1]) == str(expected[1])
    assert seen[1].of(Finished) == []
    assert apart([runs[0], runs[2]], [others[0], others[2]]) < 1e-10


def test_the_end_of_each_is_told_at_once(made: Made) -> None:
    told = jobs()
    told[2].trainer.epochs = 3
    told[1].optimizer["lr"] = 1e200
    runs, told_of = [made(one) for one in told], []
    drive_many(runs, [[] for _ in runs], ended=lambda i, error: told_of.append((i, type(error), runs[0].state.step)))
    assert [i for i, *_ in told_of] == [1, 2, 0]
    assert told_of[1] == (2, type(None), 15)


@pytest.mark.parametrize("layers", ["dropout", "batchnorm"])
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "rmsprop centered"])
def test_what_was_interrupted_together_goes_on_alone(
    made: Made, optimizer: str, layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other way round: the random state that a checkpoint holds is the run's own."""
    monkeypatch.setattr(blocks, "MOST", 1)  # an interruption waits for the end of a block
    told = jobs(layers=layers, optimizer=optimizer, scheduler={"name": "CosineAnnealingLR", "interval": "step"})
    runs, seen, reason = [made(one) for one in told], [Seen() for _ in told], KeyboardInterrupt("enough")
    errors = drive_many(runs, [[s] for s in seen], stop=lambda: reason if runs[0].state.step == 17 else None)
    assert errors == [reason] * 3
    continued = []
    for one, kept in zip(told, seen, strict=True):
        run = made(one)
        folder = next(s.folder for s in kept.of(Snapshot) if s.name == "last")
        weights = checkpoint.load_state_dict(folder / "state_dict.pt")
        run.load_state_dict(weights, checkpoint.load_training(folder / "training.pt"))
        continued.append(run)
    drive_many(continued[1:], [[], []])
    generators.set_random_state(continued[0].ready, continued[0].device)
    drive(continued[0])
    others, _, _ = alone(made, told)
    assert apart(continued, others) < 1e-10


@pytest.mark.parametrize("format", ["state_dict", "model"])
def test_a_checkpoint_holds_one_model_of_many(made: Made, format: str) -> None:
    few, many = jobs(2, layers="both", every=3, format=format), jobs(20, layers="both", every=3, format=format)
    sizes = []
    for told in (few, many):
        _, seen, _ = together(made, told)
        files = {p.name: p for p in seen[0].of(Snapshot)[0].folder.iterdir()}
        sizes.append({name: path.stat().st_size for name, path in files.items() if path.suffix == ".pt"})
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) == 2


def test_runs_that_have_left_together_share_one_copy_of_their_tensors(made: Made) -> None:
    """As large as they are: nothing of the others, nor of the stack."""
    told = jobs(4, layers="both", optimizer="adam")
    told[1].trainer.epochs = told[3].trainer.epochs = 4
    runs, _, _ = together(made, told)
    places = []
    for pair in (runs[1::2], runs[::2]):
        states = [[v for s in run.state.optimizer.state.values() for v in s.values()] for run in pair]
        tensors = [[*run.model.parameters(), *run.model.buffers(), *s] for run, s in zip(pair, states, strict=True)]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for of in tensors for t in of}
        assert sum(storages.values()) == sum(t.nbytes for of in tensors for t in of)
        places.append(set(storages))
    assert not places[0] & places[1]


def test_snapshots_on_the_way_are_those_of_a_run_alone(made: Made) -> None:
    told = jobs(layers="dropout", optimizer="adam", every="7 steps")
    _, seen, _ = together(made, told)
    _, expected, _ = alone(made, told)
    for one, other in zip(seen, expected, strict=True):
        assert [(s.name, s.step) for s in one.of(Snapshot)] == [(s.name, s.step) for s in other.of(Snapshot)]
        for a, b in zip(one.of(Snapshot), other.of(Snapshot), strict=True):
            if a.name == "last":
                pair = [checkpoint.load_training(s.folder / "training.pt") for s in (a, b)]
                assert torch.equal(*(p["random"]["torch"] for p in pair))
                assert difference(*pair) < 1e-10


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": ({"optimizer": {"name": "LBFGS", "lr": 1.0}, "batch_size": None}, "LBFGS is not stacked"),
    "maximize": ({"optimizer": {"name": "SGD", "lr": 0.1, "maximize": True}}, "SGD with maximize=true"),
    "accumulate": ({"accumulate": 2}, "trainer.accumulate=2"),
    "precision": ({"precision": "bf16"}, "trainer.precision=bf16"),
    "nothing": ({"epochs": 0}, "trains nothing"),
    "draws": ({"layers": [{"Linear": 4}, {"RReLU": {}}, {"Linear": 1}]}, "RReLU cannot be computed for many"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_cannot_be_stacked_says_why(made: Made, kind: str) -> None:
    changes, reason = REASONS[kind]
    found, left = groups([made(one) for one in jobs(2, **changes)])
    assert found == []
    assert reason in left[0]
    assert left[0] == left[1]


def test_runs_are_grouped_by_what_one_program_can_train(made: Made) -> None:
    told = [*jobs(2), *jobs(2, layers="both"), *jobs(2, optimizer="adam")]
    told += [*jobs(1, batch_size=4), *jobs(2, accumulate=3), *jobs(1, layers="both")]
    found, left = groups([made(one) for one in told])
    assert found == [[0, 1], [2, 3, 9], [4, 5]]
    assert list(left) == [6, 7, 8]
    assert "no other job" in left[6]


def test_a_time_limit_is_not_that_of_a_run_without_one(made: Made) -> None:
    found, _ = groups([made(one) for one in [*jobs(2), *jobs(2, time_limit="1 hour")]])
    assert found == [[0, 1], [2, 3]]


def test_a_bias_that_does_nothing_runs_alone(made: Made) -> None:
    layers = [{"Linear": 6}, "BatchNorm1d", "ReLU", {"Linear": 1}]
    found, left = groups([made(one) for one in jobs(2, layers=layers, optimizer="adam")])
    assert found == []
    assert "the gradient of 0.bias is nothing but rounding" in left[0]
    told = jobs(layers=layers, optimizer="nesterov")
    runs, _, _ = together(made, told)  # whose steps are as small as the gradient
    others, _, _ = alone(made, told)
    assert apart(runs, others) < 1e-10


class Noisy(nn.Module):
    """Draws what it does not tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.get_rng_state()[0] * 0) + torch.rand(()) * 0


class Counting(nn.Module):
    """Changes more than tensors."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


@pytest.mark.parametrize("layer", [Noisy, Counting])
def test_a_layer_with_secrets_runs_alone(made: Made, layer: type[nn.Module]) -> None:
    runs = [made(one) for one in jobs(2)]
    for run in runs:
        run.model.add_module("secret", layer())
    found, left = groups(runs)
    assert found == []
    assert len(left) == 2


def test_a_trial_leaves_no_trace(made: Made) -> None:
    runs = [made(one) for one in jobs(2, layers="both")]
    before, weights = torch.get_rng_state(), [checkpoint.copy(run.model) for run in runs]
    groups(runs)
    assert torch.equal(before, torch.get_rng_state())
    assert difference(weights, [checkpoint.copy(run.model) for run in runs]) == 0.0


def test_steps_carry_the_loss_of_their_own_run(made: Made) -> None:
    told = jobs()
    _, seen, _ = together(made, told)
    _, expected, _ = alone(made, told)
    for one, other in zip(seen, expected, strict=True):
        assert [s.step for s in one.of(Step)] == list(range(1, 51))
        assert all(s.value == pytest.approx(float(s.loss)) for s in one.of(Step))
        assert difference([s.value for s in one.of(Step)], [s.read() for s in other.of(Step)]) < 1e-10


def _blocks(made: Made, graph: Any, layers: str, optimizer: str, **changes: Any) -> tuple[Program, list[Tensor]]:
    """Train 40 steps in blocks; return the program, with its losses, weights and optimizers' states."""
    runs = [made(one) for one in jobs(layers=layers, optimizer=optimizer, graph=graph, **changes)]
    program = Program(runs)
    losses = [program.block(n).clone() for n in (13, 20, 7)]
    states = [runs[i].state.optimizer.state_dict()["state"] for i in range(3)]
    numbers = [value for state in states for own in state.values() for value in own.values() if value is not None]
    weights = [value for run in runs for value in run.model.state_dict().values()]
    return program, [*losses, *weights, *numbers, *(run.random_state()["torch"] for run in runs)]


@pytest.mark.parametrize(
    ("layers", "optimizer"), [*((layers, "momentum") for layers in LAYERS), *(("both", kind) for kind in OPTIMIZERS)]
)
def test_a_program_that_is_recorded_has_the_same_bits(made: Made, layers: str, optimizer: str) -> None:
    (recorded, ours), (plain, theirs) = (
        _blocks(made, graph, layers, optimizer, clip_norm=0.5) for graph in ("auto", False)
    )
    assert len(recorded._replays._replays) == 2, "of whole batches and the last ones"
    assert not plain._replays._replays
    assert len(ours) == len(theirs)
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("reason", ["numbers", "memory"])
def test_a_program_that_cannot_be_recorded_goes_on_as_it_is(
    made: Made, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its step was taken while it was to be recorded."""
    _, theirs = _blocks(made, False, "both", "adam")
    if reason == "memory":
        monkeypatch.setattr(recording, "MOST", 1000)
    else:
        monkeypatch.setattr(host, "same", lambda *_: False)
    program, ours = _blocks(made, "auto", "both", "adam")
    assert not program._replays._replays
    assert all(map(torch.equal, ours, theirs))
