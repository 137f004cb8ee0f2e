"""What `check` passes, trains: metrics, batches of one, optimizers and layers are tried as the run will use them."""

import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from runner.data import Data, Tensors
from runner.settings import Settings
from runner.settings.errors import ConfigError, each
from runner.training.checking import checks
from runner.training.drive import drive
from runner.training.parts import metrics
from tests.conftest import Start, settings

Give = Callable[[Data], dict[str, Any]]


@pytest.fixture
def give(experiments: Path) -> Iterator[Give]:
    """A data source of the user's that gives this data."""
    module = types.ModuleType("experiments.given")

    def source(data: Data) -> dict[str, Any]:
        module.source = found = lambda: data  # type: ignore[attr-defined]
        found.__module__ = module.__name__
        return {"name": "experiments.given.source"}

    sys.modules[module.__name__] = module
    yield source
    sys.modules.pop(module.__name__, None)


def numbers(*sizes: int, shape: tuple[int, ...] = (3,), outputs: int = 1) -> Data:
    torch.manual_seed(0)
    return Data(*[Tensors(torch.randn(n, *shape), torch.randn(n, outputs)) for n in sizes])


def classes(*sizes: int, count: int = 3, task: Any = "multiclass", shape: tuple[int, ...] = (4,)) -> Data:
    torch.manual_seed(0)
    parts = [Tensors(torch.randn(n, *shape), torch.arange(n) % count) for n in sizes]
    return Data(*parts, task=task, classes=tuple("abcdefghij"[:count]))


def problem(of: Settings) -> ConfigError | None:
    """What the checks find; of several problems the first."""
    try:
        checks.check(of)
    except ConfigError as error:
        return each(error)[0]
    return None


def measured(start: Start, **changes: Any) -> dict[str, float]:
    run = start(**changes)
    drive(run)
    return run.last_values()


ENTROPY: dict[str, Any] = {"loss": {"name": "CrossEntropyLoss"}}


# Metrics


@pytest.mark.parametrize(("sizes", "part"), [((8, 1, 3), "valid"), ((8, 3, 1), "test"), ((8, 1), "valid")])
def test_r2_of_one_row_is_refused_before_a_run(give: Give, sizes: tuple[int, ...], part: str) -> None:
    error = problem(settings(data=give(numbers(*sizes)), metrics=["MeanSquaredError", "R2Score"]))
    assert error is not None
    assert error.key == "metrics[1]"
    assert f"Needs at least two samples to calculate r2 score (the {part} data" in str(error)
    assert f"give the {part} data more examples" in str(error)


def test_r2_of_two_rows_is_measured(give: Give, start: Start) -> None:
    data = numbers(8, 2)
    run = start(data=give(data), metrics=["R2Score"])
    drive(run)
    with torch.no_grad(), run.weights("last"):
        output = run.model(data.valid.x)
    y = data.valid.y
    expected = 1 - ((output - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert run.last_values()["valid/R2Score"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("name", ["PearsonCorrCoef", "SpearmanCorrCoef", "ConcordanceCorrCoef", "KendallRankCorrCoef"])
@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all")
def test_a_metric_of_several_targets_learns_how_many_there_are(give: Give, start: Start, name: str) -> None:
    data = numbers(9, 7, outputs=2)
    run = start(data=give(data), metrics=[name], layers=[{"Linear": 2}])
    drive(run)
    with torch.no_grad():
        output = run.model(data.valid.x)
    values = run.last_values()
    for i in range(2):
        alone = getattr(torchmetrics, name)()
        alone.update(output[:, i], data.valid.y[:, i])
        assert values[f"valid/{name}_{i}"] == pytest.approx(float(alone.compute()), rel=1e-4)
    if name == "PearsonCorrCoef":
        expected = np.corrcoef(output[:, 1], data.valid.y[:, 1])[0, 1]
        assert values["valid/PearsonCorrCoef_1"] == pytest.approx(expected, rel=1e-4)


def test_errors_of_several_targets_stay_one_number(give: Give, start: Start) -> None:
    found = measured(start, data=give(numbers(9, 7, outputs=2)), metrics=["MeanSquaredError"], layers=[{"Linear": 2}])
    assert found["valid/MeanSquaredError"] == pytest.approx(found["valid/loss"])


def test_more_outputs_than_classes_are_refused_before_training(give: Give) -> None:
    error = problem(settings(data=give(classes(30, 20, count=10)), layers=[{"Linear": 20}], **ENTROPY))
    assert error is not None
    assert error.key == "model.layers"


def test_fewer_outputs_than_the_metric_is_told_are_refused(give: Give) -> None:
    told = [{"torchmetrics.classification.MulticlassAccuracy": {"num_classes": 7}}]
    error = problem(settings(data=give(classes(9, 6)), layers=[{"Linear": 3}], metrics=told, **ENTROPY))
    assert error is not None
    assert error.key == "metrics[0]"


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_auroc_of_one_class_is_refused_not_recorded_as_0(give: Give, task: Any) -> None:
    data = classes(12, 4, count=2 if task == "binary" else 3, task=task)
    one = Data(data.train, Tensors(data.valid.x, torch.zeros(4).long()), None, task, data.classes)
    outputs = 2 if task == "binary" else 3
    error = problem(settings(data=give(one), layers=[{"Linear": outputs}], metrics=["AUROC"], **ENTROPY))
    assert error is not None
    assert error.key == "metrics[0]"
    assert "samples in targets" in str(error)
    assert problem(settings(data=give(data), layers=[{"Linear": outputs}], metrics=["AUROC"], **ENTROPY)) is None


def test_a_class_that_is_rare_in_much_data_is_there(give: Give) -> None:
    """A metric is tried on some of the rows, and on one of each class."""
    y = torch.zeros(20_000).long()
    y[12_345] = 1
    data = Data(Tensors(torch.randn(4, 2), y[:4]), Tensors(torch.randn(20_000, 2), y), None, "binary", ("a", "b"))
    assert problem(settings(data=give(data), layers=[{"Linear": 2}], metrics=["AUROC"], **ENTROPY)) is None
    assert metrics.ROWS <= len(metrics._some(y, True)) <= metrics.ROWS + 2


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"Accuracy": {"top_k": 4}}, "top_k"),
        ("ROC", "it gives a tuple, such as a curve; what is recorded is numbers"),
        ("MeanMetric", "MeanMetric compares no outputs with targets; use another metric"),
        ("MeanSquaredError", "same shape"),
        ({"F1Score": {"average": "nothing"}}, "average"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_with_its_key(give: Give, metric: Any, message: str) -> None:
    error = problem(settings(data=give(classes(9, 6)), layers=[{"Linear": 3}], metrics=["Accuracy", metric], **ENTROPY))
    assert error is not None
    assert error.key.startswith("metrics[1]")
    assert message in str(error)


def test_a_metric_of_several_values_gives_one_for_each_class(give: Give, start: Start) -> None:
    data = classes(12, 9)
    named = [{"F1Score": {"average": "none"}}, {"Accuracy": {"top_k": 3}}]
    run = start(data=give(data), layers=[{"Linear": 3}], metrics=named, **ENTROPY)
    drive(run)
    with torch.no_grad():
        guess = run.model(data.valid.x).argmax(1)
    for k, name in enumerate(data.classes):
        both, either = ((guess == k) & (data.valid.y == k)).sum(), (guess == k).sum() + (data.valid.y == k).sum()
        assert run.last_values()[f"valid/F1Score_{name}"] == pytest.approx(float(2 * both / either))
    assert run.last_values()["valid/Accuracy"] == 1


def sequences(*sizes: int) -> Data:
    torch.manual_seed(0)
    parts = [Tensors(torch.randn(n, 2, 5), torch.randint(0, 3, (n, 5))) for n in sizes]
    return Data(*parts, task="multiclass", classes=("a", "b", "c"))


def test_metrics_of_a_class_for_every_step(give: Give, start: Start) -> None:
    data, layers = sequences(6, 4), [{"Conv1d": {"out_channels": 3, "kernel_size": 1}}]
    run = start(data=give(data), layers=layers, metrics=["Accuracy"], **ENTROPY)
    drive(run)
    with torch.no_grad():
        right = (run.model(data.valid.x).argmax(1) == data.valid.y).float().mean()
    assert run.last_values()["valid/Accuracy"] == pytest.approx(float(right))
    wrong = settings(data=give(data), layers=layers, metrics=["Accuracy", "MeanSquaredError"], **ENTROPY)
    error = problem(wrong)
    assert error is not None
    assert str(error).endswith("outputs of shape (4, 3, 5)); use another metric"), "more examples would not help"


# Batches of one


def trains(module: nn.Module, shape: tuple[int, ...], sizes: list[int]) -> bool:
    """Whether torch takes a step with batches of these sizes."""
    try:
        for size in sizes:
            module.train()(torch.randn(size, *shape, requires_grad=True)).sum().backward()
    except ValueError:
        return False
    return True


#: (layers of a configuration, plain modules, shape of an example)
NORMS: dict[str, tuple[list[Any], Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (["BatchNorm1d"], lambda: nn.BatchNorm1d(3), (3,)),
    "1d of a sequence": (["BatchNorm1d"], lambda: nn.BatchNorm1d(3), (3, 4)),
    "1d of a sequence of one": (["BatchNorm1d"], lambda: nn.BatchNorm1d(3), (3, 1)),
    "2d": (["BatchNorm2d"], lambda: nn.BatchNorm2d(2), (2, 3, 3)),
    "2d of one pixel": (["BatchNorm2d"], lambda: nn.BatchNorm2d(2), (2, 1, 1)),
    "3d": (["BatchNorm3d"], lambda: nn.BatchNorm3d(2), (2, 1, 1, 2)),
    "no running statistics": ([{"BatchNorm1d": {"track_running_stats": False}}], lambda: nn.BatchNorm1d(3), (3, 2)),
    "instance": (["InstanceNorm1d"], lambda: nn.InstanceNorm1d(2), (2, 3)),
    "group": ([{"GroupNorm": 1}], lambda: nn.GroupNorm(1, 3), (3,)),
    "groups of one": ([{"GroupNorm": 3}], lambda: nn.GroupNorm(3, 3), (3,)),
    "layer": (["LayerNorm"], lambda: nn.LayerNorm(1), (1,)),
    "nested": (
        [{"Residual": [{"Sequential": ["BatchNorm2d", "ReLU"]}]}],
        lambda: nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()),
        (2, 1, 1),
    ),
    "after pooling": (
        [{"AdaptiveAvgPool2d": 1}, {"Parallel": [["BatchNorm2d"], ["Identity"]]}],
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2)),
        (2, 4, 4),
    ),
}


def sizes_of(total: int, size: int | None, drop_last: bool) -> list[int]:
    size = min(size or total, total)
    rest = 0 if drop_last else total % size
    return [size] * (total // size) + [rest] * (rest > 0)


@pytest.mark.parametrize("name", NORMS)
def test_a_batch_of_one_is_refused_exactly_when_torch_refuses_it(give: Give, name: str) -> None:
    layers, make, shape = NORMS[name]
    for total, size, drop_last in ((5, 2, False), (5, 2, True), (5, 1, False), (1, None, False), (4, 2, False)):
        told = settings(data=give(numbers(total, 2, shape=shape)), layers=[*layers, "Flatten", {"Linear": 1}])
        told.trainer.batch_size, told.trainer.drop_last = size, drop_last
        error, right = problem(told), trains(make(), shape, sizes_of(total, size, drop_last))
        assert (error is None) == right, f"{total} in batches of {size}, drop_last {drop_last}: {error}"


@pytest.mark.parametrize(("total", "size"), [(5, 2), (5, 1), (5, 4), (3, 2), (2, 1), (7, 3), (13, 4)])
def test_the_remedies_for_a_batch_of_one_work(give: Give, start: Start, total: int, size: int) -> None:
    data = give(numbers(total, 2))
    layers = [{"Linear": 4}, "BatchNorm1d", {"Linear": 1}]
    error = problem(settings(data=data, layers=layers, batch_size=size))
    assert error is not None
    assert error.key == "trainer.batch_size"
    assert "model.layers[1]" in str(error)
    [better] = re.findall(r"trainer.batch_size=(\d+)", str(error))
    drive(start(data=data, layers=layers, batch_size=int(better)))
    assert ("trainer.drop_last=true" in str(error)) == (size > 1)
    if size > 1:
        drive(start(data=data, layers=layers, batch_size=size, drop_last=True))


def test_one_training_example_has_no_other_remedy_than_more(give: Give) -> None:
    for changes in ({}, {"drop_last": True}, {"batch_size": 4}):
        error = problem(settings(data=give(numbers(1, 2)), layers=["BatchNorm1d", {"Linear": 1}], **changes))
        assert error is not None
        assert error.key == "data"
        assert "give more" in str(error)


def test_dropping_the_last_batch_of_all_in_one_is_no_mistake(start: Start) -> None:
    run = start(drop_last=True)
    drive(run)
    assert run.steps == 3


@pytest.mark.parametrize("sizes", [(6, 1), (6, 2, 1), (6, 7), (6, 3, 13)])
def test_a_group_norm_that_cannot_take_one_example_is_refused(give: Give, sizes: tuple[int, ...]) -> None:
    """Which is what is left of 7 or 13 in batches of 6."""
    layers = [{"GroupNorm": 3}, {"Linear": 1}]
    error = problem(settings(data=give(numbers(*sizes)), layers=layers, batch_size=6))
    assert error is not None
    assert error.key == "model.layers[0].GroupNorm"
    assert f"{sizes[-1]} example" in str(error)
    others = tuple(n + 1 for n in sizes)
    sizes_of_batches = {"batch_size": others[0], "eval_batch_size": max(others)}
    assert problem(settings(data=give(numbers(*others)), layers=layers, **sizes_of_batches)) is None


# Optimizers, layers, losses


def test_muon_takes_matrices_only(give: Give, start: Start) -> None:
    data, muon = give(numbers(6, 2)), {"name": "Muon", "lr": 0.01}
    error = problem(settings(data=data, optimizer=muon))
    assert error is not None
    assert error.key == "optimizer.name"
    assert "2D" in str(error)
    drive(start(data=data, optimizer=muon, layers=[{"Linear": {"out_features": 1, "bias": False}}]))


@pytest.mark.parametrize("optimizer", [{"name": "AdamW", "capturable": True}, {"name": "NAdam", "capturable": True}])
def test_an_optimizer_that_fails_at_its_first_step_is_refused(optimizer: dict[str, Any]) -> None:
    error = problem(settings(optimizer=optimizer))
    assert error is not None
    assert error.key == "optimizer.name"


def test_a_layer_whose_gradient_torch_cannot_take_is_refused() -> None:
    layers = [{"Linear": 3}, "Sigmoid", {"ReLU": {"inplace": True}}, {"Linear": 1}]
    error = problem(settings(layers=layers))
    assert error is not None
    assert error.key == "model.layers"
    assert "inplace operation" in str(error)


LAZY: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "LazyLinear": ({"LazyLinear": 4}, {"Linear": 4}, (3,)),
    "LazyConv2d": (
        {"LazyConv2d": {"out_channels": 2, "kernel_size": 3}},
        {"Conv2d": {"out_channels": 2, "kernel_size": 3}},
        (1, 4, 4),
    ),
    "LazyConvTranspose1d": (
        {"LazyConvTranspose1d": {"out_channels": 2, "kernel_size": 3}},
        {"ConvTranspose1d": {"out_channels": 2, "kernel_size": 3}},
        (2, 4),
    ),
    "LazyBatchNorm1d": ("LazyBatchNorm1d", "BatchNorm1d", (3,)),
    "LazyInstanceNorm2d": ("LazyInstanceNorm2d", "InstanceNorm2d", (2, 3, 3)),
}


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_layer_is_the_layer_with_its_sizes(give: Give, start: Start, name: str) -> None:
    lazy, usual, shape = LAZY[name]
    data = give(numbers(6, 2, shape=shape))
    runs = [start(data=data, layers=[layer, "Flatten", {"Linear": 1}]) for layer in (lazy, usual)]
    for run in runs:
        drive(run)
    one, other = (run.model.state_dict() for run in runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert runs[0].history == runs[1].history


def test_targets_of_another_shape_in_the_validation_data_are_refused(give: Give) -> None:
    data = numbers(6, 3)
    wrong = Data(data.train, Tensors(data.valid.x, torch.randint(0, 2, (3, 2))), None)
    error = problem(settings(data=give(wrong), loss={"name": "PoissonNLLLoss"}, layers=[{"Linear": 3}, {"Linear": 1}]))
    assert error is None or error.key.startswith(("loss", "data", "model"))
    classes_of = classes(6, 3)
    beyond = Data(classes_of.train, Tensors(classes_of.valid.x, torch.full((3,), 7)), None, "multiclass", ("a", "b"))
    error = problem(settings(data=give(beyond), layers=[{"Linear": 3}], **ENTROPY))
    assert error is not None, "class 7 of three outputs ends the run at its first validation"


def test_a_users_layer_is_tried_with_every_size_of_batch(give: Give, experiments: Path) -> None:
    (experiments / "fixed.py").write_text(
        "from torch import nn\n"
        "class Fixed(nn.Module):\n"
        "    def forward(self, x):\n"
        "        if len(x) == 3:\n"
        "            raise ValueError('three is too many')\n"
        "        return x\n"
    )
    layers = [{"Linear": 1}, "experiments.fixed.Fixed"]
    error = problem(settings(data=give(numbers(11, 2)), layers=layers, batch_size=4))
    assert error is not None
    assert error.key == "model.layers[1]"
    assert "three is too many" in str(error)
    assert problem(settings(data=give(numbers(10, 2)), layers=layers, batch_size=4)) is None


def test_nothing_is_drawn_and_nothing_changed_by_the_checks(give: Give) -> None:
    data = numbers(6, 3)
    before = [t.clone() for t in (data.train.x, data.train.y, data.valid.x)]
    told = settings(data=give(data), layers=[{"ReLU": {"inplace": True}}, {"Dropout": 0.5}, {"Linear": 1}])
    checks.check(told)
    state = torch.get_rng_state()
    np.random.seed(1)
    checked = checks.check(told)
    checks.rehearsal.check(told, checked.parts, data, checked.plan)
    torch.manual_seed(0)
    assert all(map(torch.equal, before, (data.train.x, data.train.y, data.valid.x)))
    assert state.shape == torch.get_rng_state().shape
