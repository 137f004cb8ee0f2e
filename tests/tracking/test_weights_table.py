"""What `summary` says of weights: whether they are trained, from where they come, and by which optimizer."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runner.settings import Model
from runner.settings.values.lookup import use_folder
from runner.tracking import weights_table
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
