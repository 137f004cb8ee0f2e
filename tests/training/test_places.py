"""Targets of several values for an example: a class for each place, labels, columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from runner.data import Data, Tensors
from runner.data import arrays as arrays_of
from runner.data import table as table_of
from runner.data.arrays import arrays
from runner.data.digits import digits
from runner.data.table import table
from runner.plots import confusion_matrix
from runner.plots._data import classify
from runner.settings.errors import ConfigError
from runner.training import measure
from runner.training.drive import drive
from runner.training.subject import Subject
from tests.conftest import Start

N = 40
IMAGES = np.random.default_rng(0).random((N, 1, 4, 4)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noted(data: Data) -> dict[str, Any]:
    return {"task": data.task, "classes": list(data.classes), "notes": data.notes}


@pytest.mark.parametrize(("kinds", "loss", "outputs"), [(3, "CrossEntropyLoss", 3), (2, "BCEWithLogitsLoss", 1)])
def test_loss_accuracy_and_confusion_of_pixels_are_those_of_torch(
    kinds: int, loss: str, outputs: int, place: Path, start: Start
) -> None:
    y = (IMAGES[:, 0] * kinds).astype(int)
    np.savez("pixels.npz", x=IMAGES, y=y, x_valid=IMAGES[:7], y_valid=y[:7])
    run = start(
        data={"name": "arrays", "path": "pixels.npz", "test": 0},
        layers=[{"Conv2d": {"out_channels": outputs, "kernel_size": 1}}],
        loss={"name": loss},
        metrics=["Accuracy", {"JaccardIndex": {"average": "none"} if kinds > 2 else {}}],
        epochs=2,
        batch_size=16,
    )
    drive(run)
    assert isinstance(run.data.valid, Tensors)
    values = measure.values(run, run.data.valid, "valid")
    with torch.no_grad():
        output, truth = run.model(run.data.valid.x), torch.from_numpy(y[:7])
    if kinds > 2:
        expected, predicted = torch.nn.functional.cross_entropy(output, truth), output.argmax(1)
        assert {"valid/JaccardIndex_0", "valid/JaccardIndex_2"} <= set(values)
    else:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(output[:, 0], truth.float())
        predicted = (output[:, 0] > 0).long()
    assert values["valid/loss"] == pytest.approx(float(expected))
    assert values["valid/Accuracy"] == pytest.approx(float((predicted == truth).float().mean()))
    assert confusion_matrix.problem(run.data, run.model) is None
    found = classify(Subject(run), run.data.valid)
    counts = confusion_matrix.matrix(found.truth, found.predicted, found.classes)
    assert counts.sum() == truth.numel()
    assert counts.diag().sum() == (predicted == truth).sum()


def test_labels_of_arrays_and_of_a_table_are_the_same_and_are_read_again(place: Path) -> None:
    x = np.random.default_rng(0).random((N, 2))
    y = (x > 0.5).astype(int)
    np.savez("labels.npz", x=x, y=y)
    pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "wet": y[:, 0], "hot": y[:, 1] == 1}).to_csv(
        "labels.csv", index=False
    )
    of_arrays = arrays("labels.npz", task="multilabel", classes=["wet", "hot"])
    of_table = table("labels.csv", target=["wet", "hot"], task="multilabel")
    assert of_arrays.task == of_table.task == "multilabel"
    assert of_arrays.classes == of_table.classes == ("wet", "hot")
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(of_arrays, part).y, getattr(of_table, part).y)
        assert getattr(of_arrays, part).y.dtype == torch.float32
    again = arrays_of.again(noted(of_arrays), path="labels.npz", task="multilabel")
    assert torch.equal(again.test.y, of_arrays.test.y)  # type: ignore[union-attr]
    again = table_of.again(noted(of_table), path="labels.csv", target=["wet", "hot"], task="multilabel")
    assert torch.equal(again.test.y, of_table.test.y)  # type: ignore[union-attr]


def test_classes_of_places_are_numbered_and_read_again(place: Path) -> None:
    y = np.where(IMAGES[:, 0] > 0.5, 7, 3)
    np.savez("pixels.npz", x=IMAGES, y=y)
    data = arrays("pixels.npz", valid=0, test=0)
    assert (data.task, data.classes) == ("binary", ("3", "7"))
    assert torch.equal(data.train.y, torch.from_numpy((y == 7).astype(np.int64)))  # type: ignore[union-attr]
    np.savez("sevens.npz", x=IMAGES, y=np.full_like(y, 7))
    again = arrays_of.again(noted(data), path="sevens.npz", valid=0, test=0)
    assert bool((again.train.y == 1).all())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("y", "classes", "key"),
    [
        (np.zeros(N, int), None, "data.task"),
        (np.full((N, 2), 2), None, "data.path"),
        (np.ones((N, 2), int), ["one"], "data.classes"),
    ],
)
def test_what_are_no_labels_is_refused(y: Any, classes: Any, key: str, place: Path) -> None:
    np.savez("wrong.npz", x=np.zeros((N, 2)), y=y)
    with pytest.raises(ConfigError) as error:
        arrays("wrong.npz", task="multilabel", classes=classes)
    assert error.value.key == key


def test_values_of_columns_have_their_names(place: Path, start: Start) -> None:
    x = np.random.default_rng(0).random((N, 2))
    frame = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "rent": x.sum(1), "size (m2)": x[:, 0] * 2})
    frame.to_csv("houses.csv", index=False)
    run = start(
        data={"name": "table", "path": "houses.csv", "target": ["rent", "size (m2)"]},
        layers=[{"Linear": 2}],
        metrics=[{"MeanSquaredError": {"num_outputs": 2}}],
        epochs=1,
    )
    drive(run)
    names = {name for name in run.history if name.startswith("valid/Mean")}
    assert names == {"valid/MeanSquaredError_rent", "valid/MeanSquaredError_size _m2_"}


@pytest.mark.parametrize(
    ("low", "high", "problem"), [(0, 5, "holds 5; expected at least 6"), (-1, 4, "holds -1; number")]
)
def test_indices_behind_layers_that_only_reshape_are_checked(
    low: int, high: int, problem: str, place: Path, start: Start
) -> None:
    x = np.zeros((N, 2, 3), int)
    x[-1, 0, 0], x[-1, 1, 0] = low, high
    np.savez("indices.npz", x=np.zeros((N, 2, 3), int), y=np.linspace(0, 1, N), x_valid=x, y_valid=np.linspace(0, 1, N))
    embed = {"Embedding": {"num_embeddings": 5, "embedding_dim": 2}}
    with pytest.raises(ConfigError) as error:
        start(
            data={"name": "arrays", "path": "indices.npz", "indices": True},
            layers=["Flatten", {"Sequential": ["Identity", embed]}, "Flatten", {"Linear": 1}],
            epochs=1,
        )
    assert problem in str(error.value)
    assert "the valid data" in str(error.value)


@pytest.mark.parametrize(("outputs", "refused"), [(9, True), (10, False), (12, True)])
def test_a_confusion_matrix_needs_an_output_for_each_class(outputs: int, refused: bool) -> None:
    data = digits()
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, outputs))
    assert bool(confusion_matrix.problem(data, model)) == refused
