"""Texts of a table as whole numbers, which layers embed: entity embeddings."""

from typing import Any

import numpy as np
import pandas
import pytest
import torch

from runner.data import Data
from runner.data._inputs import read as inputs_of
from runner.settings.errors import ConfigError
from runner.tracking.identity import data_facts
from runner.training.parts import source
from tests.support.command import runner


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    cities, kinds = rng.integers(0, 4, 120), rng.integers(0, 2, 120)
    frame = pandas.DataFrame(
        {"city": np.array(["Bonn", "Kiel", "Ulm", "Jena"])[cities], "size": rng.normal(50, 9, 120)}
    )
    frame["kind"] = np.array(["flat", "house"])[kinds]
    frame["price"] = np.array([3.0, 1.0, 2.0, 5.0])[cities] * (1 + kinds) + frame["size"] / 50
    frame.to_csv("rents.csv", index=False)


def read(**arguments: Any) -> Data:
    return source.read(source.resolve({"name": "table", "path": "rents.csv", "target": "price", **arguments}))


def test_codes_are_places_of_the_columns_of_0_and_1() -> None:
    coded, plain = read(words="codes"), read()
    x = coded.train.x
    assert {name: (one.dtype, one.shape[1]) for name, one in x.items()} == {
        "numbers": (torch.float32, 1),
        "words": (torch.int64, 2),
    }
    assert coded.notes["categories"]["city"] == ["Bonn", "Jena", "Kiel", "Ulm"]
    assert torch.equal(x["words"][:, 0], plain.train.x[:, :4].argmax(1))
    assert torch.equal(x["words"][:, 1], plain.train.x[:, 5:].argmax(1))
    assert torch.equal(x["numbers"][:, 0], plain.train.x[:, 4])
    assert torch.equal(coded.test.y, plain.test.y)


def test_other_rows_are_read_with_the_codes_of_the_run() -> None:
    data = read(words="codes")
    noted = data_facts(data)
    frame = pandas.read_csv("rents.csv")
    frame[frame["city"] == "Ulm"].to_csv("others.csv", index=False)
    [x] = inputs_of("others.csv", noted).batches
    assert set(x["words"][:, 0].tolist()) == {3}
    bound = source.resolve({"name": "table", "path": "others.csv", "target": "price", "words": "codes"})
    assert set(source.read(bound, noted=noted).train.x["words"][:, 0].tolist()) == {3}
    frame.replace("Ulm", "Essen").to_csv("others.csv", index=False)
    with pytest.raises(ConfigError, match="Essen"):
        inputs_of("others.csv", noted)


def test_a_table_without_text_has_no_codes() -> None:
    with pytest.raises(ConfigError, match=r"data\.words: codes, and no feature is text"):
        read(words="codes", features=["size"])
    assert list(read(words="codes", features=["city"]).train.x) == ["words"]


def test_categorical_columns_are_inputs_by_their_names() -> None:
    frame = pandas.read_csv("rents.csv")
    frame["rooms"] = np.arange(len(frame)) % 3 + 8  # numbers that are names: 8, 9 and 10
    frame.loc[4, "rooms"] = np.nan  # so that pandas has decimals, 8.0
    frame.to_csv("rents.csv", index=False)
    data = read(categorical=["city", "rooms"], missing="median", standardize=False)
    assert {name: (one.dtype, one.shape[1:]) for name, one in data.train.x.items()} == {
        "numbers": (torch.float32, (3,)),  # the size, and the kind as columns of 0 and 1
        "city": (torch.int64, ()),
        "rooms": (torch.int64, ()),
    }
    assert data.notes["categories"]["rooms"] == ["10", "8", "9"]
    noted = data_facts(data)
    frame[frame["rooms"] == 9].to_parquet("others.parquet")
    [x] = inputs_of("others.parquet", noted).batches
    assert set(x["rooms"].tolist()) == {data.notes["categories"]["rooms"].index("9")}


def test_targets_by_name_have_a_task_each(tmp_path) -> None:
    target, task = {"cost": "price", "form": "kind"}, {"form": "classification"}
    data = read(target=target, task=task)
    assert (data.task, data.classes) == (
        {"cost": "regression", "form": "binary"},
        {"cost": (), "form": ("flat", "house")},
    )
    alone = read(leave_out=["kind"])
    assert len(data.train) == len(alone.train)
    assert data.train.y["cost"].shape[1:] == (1,)
    assert data.train.y["form"].dtype == torch.int64
    bound = source.resolve({"name": "table", "path": "rents.csv", "target": target, "task": task})
    again = source.read(bound, noted=data_facts(data))
    assert torch.equal(again.train.y["form"], data.train.y["form"])
    assert torch.equal(again.test.x, data.test.x)


def test_an_embedding_of_each_column_learns_the_prices(tmp_path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "rents.yaml").write_text(
        """
data: {name: table, path: rents.csv, target: price, categorical: [city, kind]}
model:
  inputs: {numbers: [{Linear: 4}], city: {Embedding: 3}, kind: {Embedding: 2}}
  layers: [{Linear: 16}, ReLU, {Linear: 1}]
optimizer: {name: Adam, lr: 0.02}
trainer: {epochs: 60, batch_size: 16}
metrics: [R2Score]
plots: []
"""
    )
    done = runner("experiments=rents", cwd=tmp_path)
    assert "identical" in runner("reproduce", done.run_id, cwd=tmp_path).out
    runner("predict", done.run_id, "inputs=rents.csv", "output=p.csv", cwd=tmp_path)
    predicted = pandas.read_csv(tmp_path / "p.csv")["price"]
    assert (predicted - pandas.read_csv(tmp_path / "rents.csv")["price"]).abs().mean() < 0.3
