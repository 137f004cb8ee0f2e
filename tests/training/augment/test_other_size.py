"""Training examples of another size than those of validation: cut in training, whole or cut by a layer elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings import Model, Settings, Trainer
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run

CODE = """
import torch
from runner.data import Data, Tensors


def middle(x):
    return x[..., 1:7, 1:7]


def cut(x, y):
    top = int(torch.randint(3, ()))
    return x[..., top:top + 6, 1:7], y[..., top:top + 6, 1:7]


def fewer(x):
    return x[:3]


def points():
    x = torch.rand(60, 4)
    return Data(Tensors(x[20:], (x[20:, 0] > 0.5).long()), task="multiclass", classes=("a", "b"))


def places():
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    return Data(Tensors(x[20:], y[20:]), valid=Tensors(x[:20], y[:20]), task="multiclass", classes=("a", "b"))
"""


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> None:
    (tmp_path / "cutting.py").write_text(CODE)
    use_folder(tmp_path)


def made(layers: list[Any], augment: Any = None, name: str = "digits", **trainer: Any) -> Run:
    settings = Settings(
        data={"name": name, **({"valid": 0.4, "test": 0.5} if name == "digits" else {}), "augment": augment},
        model=Model(layers),
        loss={"name": "CrossEntropyLoss"},
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler=None,
        trainer=Trainer(**{"epochs": 2, "batch_size": 40, **trainer}),
    )
    return prepare(settings, "cut")


def losses(run: Run) -> dict[str, list[Any]]:
    drive(run)
    values = {name: list(run.history[name]) for name in ("train/loss", "valid/loss")}
    run.close()
    return values


MIDDLE = ["experiments.cutting.middle"]


def test_a_first_layer_that_cuts_leaves_what_is_cut_already() -> None:
    layers = [{"CenterCrop": 6}, "Flatten", {"Linear": 10}]
    assert losses(made(layers, MIDDLE)) == losses(made(layers))


@pytest.mark.parametrize("graph", [True, False])
def test_a_model_that_takes_any_size_trains_on_one_and_validates_on_another(graph: bool) -> None:
    layers = [{"Conv2d": {"out_channels": 4, "kernel_size": 3}}, {"AdaptiveAvgPool2d": 1}, "Flatten", {"Linear": 10}]
    run = made(layers, MIDDLE, graph=graph)
    expected = run.model(run.data.train[:40][0][..., 1:7, 1:7]).shape  # type: ignore[index]
    assert expected == (40, 10)
    model, values = run.model, losses(run)
    x, y = run.data.valid.x, run.data.valid.y  # type: ignore[union-attr]
    with torch.no_grad():  # the last validation is of the whole pictures, as plain torch has it
        loss = torch.nn.functional.cross_entropy(model.eval()(x), y)
    assert values["valid/loss"][-1][1] == pytest.approx(float(loss), rel=1e-5)


def test_masks_may_change_their_size_with_their_pictures() -> None:
    layers = [{"Conv2d": {"out_channels": 2, "kernel_size": 3, "padding": 1}}]
    run = made(layers, ["experiments.cutting.cut"], name="experiments.cutting.places")
    shapes = {(tuple(x.shape[1:]), tuple(y.shape[1:])) for parts in run.batches() for _, (x, y) in parts}
    assert shapes == {((1, 6, 6), (6, 6))}
    values = losses(run)
    assert values["valid/loss"][-1][1] < values["valid/loss"][0][1]


def test_a_model_that_does_not_take_both_is_refused_before_it_is_made() -> None:
    with pytest.raises(ConfigError) as error:
        made(["Flatten", {"Linear": 10}, "ReLU", {"Linear": 10}], MIDDLE)
    assert error.value.key == "data.augment[0]"


def test_examples_that_are_no_pictures_are_refused_without_advice_for_pictures() -> None:
    with pytest.raises(
        ConfigError, match=r"examples of \[3\] from \[4\].*Linear.*; leave their size as it is"
    ) as error:
        made([{"Linear": 2}], ["experiments.cutting.fewer"], name="experiments.cutting.points")
    assert error.value.key == "data.augment[0]"
