"""What `summary` says of weights: whether they are trained, from where they come, and by which optimizer."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runner.settings import Model
from runner.settings.values.lookup import use_folder
from runner.tracking import weights_table
from runner.tracking.session import _where
from runner.training.checking import untrained
from tests.conftest import Start

LAYERS = {"body": {"Linear": 4}, "act": "Tanh", "head": {"Linear": 1}}
TWO = {"first": {"name": "Adam", "lr": 0.01, "params": ["body"]}, "head": {"name": "SGD", "lr": 0.1}}
XAVIER = "yes xavier_uniform_(gain=2.0)"
STEP = """
from runner.training.step import gradients

def step(state, parts):
    loss = gradients(state, parts)
    for optimizer in state.optimizers.values():
        optimizer.step()
    return loss
"""


@pytest.mark.parametrize(
    ("model", "others", "rows"),
    [
        ({"freeze": "body"}, {}, ["body no drawn", "head yes drawn"]),
        (
            {"init": {"Linear": {"xavier_uniform_": {"gain": 2.0}}, "head.bias": "zeros_"}},
            {},
            [f"body.weight {XAVIER}", "body.bias yes drawn", f"head.weight {XAVIER}", "head.bias yes zeros_"],
        ),
        (
            {},
            {"optimizer": TWO, "step": "experiments.table_step.step"},
            ["body yes drawn first (Adam, lr=0.01)", "head yes drawn head (SGD, lr=0.1)"],
        ),
        ({}, {}, None),
    ],
)
def test_each_row_is_a_layer_or_a_parameter(
    start: Start, tmp_path: Path, model: Any, others: Any, rows: list[str] | None
) -> None:
    (tmp_path / "table_step.py").write_text(STEP)
    use_folder(tmp_path)
    run = start(model=Model(layers=LAYERS, **model), **others)
    assert weights_table.differs(run) == (rows is not None)
    text = io.StringIO()
    Console(file=text, width=200).print(weights_table.table(run))
    shown = [" ".join(line.split()) for line in text.getvalue().splitlines()[1:]]
    assert shown == (rows or ["body yes drawn", "head yes drawn"])


OUTPUTS = {"y": {"Linear": 1}, "own": [{"Linear": 3}, "ReLU", {"Linear": 1}], "shown": {"Sigmoid": {"from": "y"}}}


@pytest.mark.parametrize(("loss", "alone"), [({"y": "MSELoss"}, {"own": ["own"]}), ({"own": "MSELoss"}, {"y": ["y"]})])
def test_an_output_without_a_loss_is_said_and_its_layers_alone_have_no_gradient(start: Start, loss: Any, alone: Any):
    """Those that plain torch gives no gradient; an output of layers that others train is not said."""
    run = start(model=Model(layers=[{"Linear": 4}], outputs=OUTPUTS), loss=loss)
    found = untrained.layers(run.parts, run.loss, run.stack)
    assert alone.items() <= found.items()
    run.loss(run.model(run.data.train.x), run.data.train.y)["loss"].backward()  # type: ignore[union-attr]
    without = {name for name, parameter in run.model.named_parameters() if parameter.grad is None}
    names = {layer for layers in found.values() for layer in layers}
    assert without == {name for name, _ in run.model.named_parameters() if name.partition(".")[0] in names}
    assert any(f"model.outputs.{name}: no loss" in _where(run, "", "", "") for name in alone)
    text = io.StringIO()
    Console(file=text, width=200).print(weights_table.table(run))
    assert weights_table.differs(run)
    assert text.getvalue().count("no loss") == len(without) / 2  # weight and bias in one row
