"""Plots that show targets and outputs are drawn where a model has several inputs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from runner import plots
from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.subject import Subject
from tests.conftest import Start

OWN = """
import torch
from runner.data import Data, Tensors


def users(classes: bool = False) -> Data:
    x = {"user": torch.arange(40) % 5, "item": torch.arange(40) % 8}
    total = x["user"] + x["item"]
    return Data(Tensors(x, total % 2 if classes else total[:, None].float()))
"""


@pytest.fixture(autouse=True)
def own(experiments: Path) -> None:
    (experiments / "pairs.py").write_text(OWN)


def model(outputs: int) -> Model:
    return Model(inputs={"user": {"Embedding": 3}, "item": {"Embedding": 3}}, layers=[{"Linear": outputs}])


@pytest.mark.parametrize(
    ("name", "loss", "outputs"), [("confusion_matrix", "CrossEntropyLoss", 2), ("predicted_vs_true", "MSELoss", 1)]
)
def test_they_are_drawn_of_all_examples(start: Start, name: str, loss: str, outputs: int) -> None:
    classes = loss == "CrossEntropyLoss"
    data = {"name": "experiments.pairs.users", "classes": classes}
    run: Any = start(data=data, model=model(outputs), loss={"name": loss}, plots=[name], epochs=1)
    drive(run)
    draw: Any = plots.find(name)
    figure = draw(Subject(run))
    x, y = run.data.train.x, run.data.train.y
    with torch.no_grad():
        output = run.model(x)
    if classes:
        assert f"{100 * float((output.argmax(1) == y).double().mean()):.1f} % of 40 right" in figure.texts[0].get_text()
    else:
        shown = torch.tensor(figure.axes[0].collections[0].get_offsets().data)
        assert torch.equal(shown, torch.cat([y, output], 1).double())


def test_inputs_that_are_shown_are_one_tensor(start: Start) -> None:
    with pytest.raises(ConfigError, match="'examples' cannot be drawn: it shows one tensor"):
        start(
            data={"name": "experiments.pairs.users", "classes": True},
            model=model(2), loss={"name": "CrossEntropyLoss"}, plots=["examples"],
        )  # fmt: skip
