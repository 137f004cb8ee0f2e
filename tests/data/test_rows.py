"""How many rows an Embedding has follows from the data, and is the same for every later use of the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.data import Data, Tensors
from runner.data._rows import remembered, rows
from runner.data.text import text
from runner.model.planning import plan
from runner.model.whole import planned
from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.tracking.identity import data_facts
from runner.tracking.read.load import example
from runner.training.checking import fitting, targets

INDICES = torch.tensor([[0, 3], [1, 2]])
TARGET = torch.zeros(2, 1)


def test_it_is_one_more_than_the_largest_index_of_all_parts() -> None:
    data = Data(Tensors(INDICES, TARGET), Tensors(INDICES + 4, TARGET))
    assert rows(data) == [8]
    assert rows(Data(Tensors(INDICES - 1, TARGET))) == [0]  # -1 is no row
    assert rows(Data(Tensors(INDICES.float(), TARGET))) == [0]
    assert rows(Data(Tensors({"user": INDICES, "age": TARGET}, TARGET))) == [4, 0]


def test_of_a_text_it_is_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefgh" * 20 + "z")
    data = text(str(tmp_path / "a.txt"), length=8)
    assert rows(data) == [len(data.classes)] == [9]


@pytest.mark.parametrize(
    "spec", [{"Embedding": 5}, {"EmbeddingBag": {"embedding_dim": 5}}, [{"Embedding": 5}, "Flatten"]]
)
def test_it_is_filled_in_where_the_layer_reads_the_data_itself(spec: Any) -> None:
    stack = plan([spec], remembered(INDICES.to("meta"), [8]))
    [weight] = stack.planned().parameters()
    assert weight.shape == (8, 5)


def test_the_record_of_a_run_plans_the_same_model() -> None:
    data = Data(Tensors({"user": INDICES[:, 0], "item": INDICES[:, 1]}, TARGET))
    model = Model(inputs={"user": {"Embedding": 2}, "item": {"Embedding": 3}}, layers=[{"Linear": 1}])
    stack = planned(model, example(data_facts(data), "meta"))
    shapes = {name: tuple(p.shape) for name, p in stack.planned().named_parameters()}
    assert shapes["user.weight"] == (2, 2)
    assert shapes["item.weight"] == (4, 3)


def test_without_the_data_s_own_indices_it_has_to_be_said() -> None:
    with pytest.raises(ConfigError, match="num_embeddings"):
        plan([{"Embedding": 5}], INDICES.to("meta"))


@pytest.mark.parametrize(
    "model",
    [
        Model(inputs={"user": {"Embedding": {"num_embeddings": 4, "embedding_dim": 2}}, "item": ["Flatten"]}),
        Model(layers={"u": {"Embedding": {"num_embeddings": 4, "embedding_dim": 2, "from": "input.user"}}}),
    ],
)
def test_indices_of_one_input_of_several_are_checked(model: Model) -> None:
    data = Data(Tensors({"user": INDICES, "item": TARGET}, TARGET))
    stack = planned(model, example(data_facts(data), "meta"))
    fitting.indices(data, stack)
    with pytest.raises(ConfigError, match="the valid data holds 7"):
        fitting.indices(Data(data.train, Tensors({"user": INDICES + 4, "item": TARGET}, TARGET)), stack)


def test_a_tied_linear_has_as_many_outputs_as_the_weight_has_rows() -> None:
    layers = {
        "embed": {"Embedding": {"num_embeddings": 7, "embedding_dim": 3}},
        "head": {"Linear": {"bias": False, "weight": {"tie": "embed.weight"}}},
    }
    model = plan(layers, INDICES.to("meta")).make()
    assert model.head.weight is model.embed.weight
    assert model(INDICES).shape == (2, 2, 7)


@pytest.mark.parametrize(
    ("y", "loss", "task"),
    [
        (torch.tensor([0, 2, 1]), nn.CrossEntropyLoss(), "multiclass"),
        (torch.tensor([[0, 2], [1, -100], [1, 1]]), nn.CrossEntropyLoss(), "multiclass"),
        (torch.tensor([[0.0], [1.0], [1.0]]), nn.BCEWithLogitsLoss(), "binary"),
        (torch.tensor([[0.0], [0.5], [1.0]]), nn.BCEWithLogitsLoss(), "regression"),
        (torch.tensor([0, 2, 1]), nn.MSELoss(), "regression"),
    ],
)
def test_the_loss_decides_what_a_source_of_one_s_own_means(y: torch.Tensor, loss: nn.Module, task: str) -> None:
    data = Data(Tensors(torch.zeros(3, 2), y))
    assert targets.fit(data, loss).task == task
    assert targets.fit(data, loss, numbers=True).task == "regression"  # as an earlier version has recorded it
