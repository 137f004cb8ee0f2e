"""Layers that take or give several tensors, as `summary` and `explain` show them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.model.explain import explain
from runner.model.explain.shown import text, words
from runner.model.planning import plan
from runner.model.stack import shapes, worded
from runner.tracking.training_screen import described


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.digit, self.parity = nn.Linear(8, 10), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"digit": self.digit(x), "parity": self.parity(x)}


def meta(*shape: int) -> Tensor:
    return torch.empty((2, *shape), device="meta")


@pytest.mark.parametrize(
    ("layers", "output"),
    [
        ([{"Linear": 3}], "(N, 5, 3)"),
        ([{"GRU": {"hidden_size": 4, "bidirectional": True}}], "(N, 5, 8), (2, N, 4)"),
        ([{"LSTM": 4}], "(N, 5, 4), ((1, N, 4), (1, N, 4))"),
        ([{"MultiheadAttention": {"num_heads": 2, "need_weights": True}}], "(N, 5, 8), (N, 5, 5)"),
    ],
)
def test_a_summary_has_the_shapes_of_all_that_a_layer_gives(layers: Any, output: str) -> None:
    assert shapes(plan(layers, meta(5, 8)).layers[-1]) == output


def test_a_summary_has_arguments_that_are_lists_and_not_those_that_are_layers() -> None:
    stack = plan(
        [{"Permute": [0, 2, 1]}, {"Residual": ["ReLU"]}, {"Conv1d": {"out_channels": 2, "kernel_size": [3]}}],
        meta(5, 8),
    )
    assert [described(layer) for layer in stack.layers] == [
        "Permute(dims=[0, 2, 1])",
        "Residual()",
        "Conv1d(out_channels=2, kernel_size=[3], in_channels=8)",
    ]


def test_an_explanation_has_the_shapes_of_all_inputs_and_outputs() -> None:
    layers = {"a": {"Linear": 4}, "b": {"Linear": {"out_features": 3, "from": "input"}}, "both": {"Concat": ["a", "b"]}}
    *_, both = explain(plan(layers, meta(8)).make(), torch.ones(1, 8))
    assert words.shapes(both) == "(1, 4), (1, 3) -> (1, 7)"
    assert "first input (1, 4)" in text.layer_text(both).plain
    assert worded(Heads()(torch.ones(1, 8)), lambda one: str(tuple(one.shape))) == "digit (1, 10), parity (1, 2)"
    whole, *inner = explain(nn.Sequential(Heads()), torch.ones(1, 8))
    assert words.shapes(whole) == "(1, 8) -> digit (1, 10), parity (1, 2)"
    assert [words.shapes(one) for one in inner] == ["(1, 8) -> (1, 10)", "(1, 8) -> (1, 2)"]


def test_parameters_of_layers_inside_are_counted_with_a_layers_own() -> None:
    [attention, *_] = explain(plan([{"MultiheadAttention": 2}], meta(5, 8)).make(), torch.ones(1, 5, 8))
    assert words.parameters(attention) == "288 parameters: in_proj_weight 24*8 + in_proj_bias 24 + 72 inside"


def test_an_explanation_has_the_arguments_of_layers_that_say_none() -> None:
    layers = [{"LSTM": 4}, {"Select": 0}, {"Permute": [0, 2, 1]}, {"Mean": 1}]
    found = explain(plan(layers, meta(5, 8)).make(), torch.ones(1, 5, 8))
    assert [words.kind(one) for one in found[1:]] == [
        "Select(index=0)",
        "Permute(dims=(0, 2, 1))",
        "Mean(dim=(1,), keepdim=False)",
    ]
