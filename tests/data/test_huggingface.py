"""Hugging Face datasets on this machine: their parts, classes and columns as tensors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from runner.data import Data, Tensors, _held, batches
from runner.settings.errors import ConfigError
from runner.training.parts import source

datasets = pytest.importorskip("datasets")
ROWS = {
    "a": [float(i) for i in range(20)],
    "b": [[i, i + 1] for i in range(20)],
    "label": [i % 2 for i in range(20)],
    "word": ["yes" if i % 4 else "no" for i in range(20)],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def read(**arguments: Any) -> Data:
    return source.read(source.resolve({"name": "huggingface", **arguments}))


def test_a_folder_has_its_own_parts(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [Image.new("L", (4, 2), 51 * i) for i in range(4)], "label": [0, 1, 0, 1]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "test": whole.select([1])}).save_to_disk(tmp_path / "saved")
    data = read(path=str(tmp_path / "saved"), target="label", valid=0)
    assert [len(data.train), data.valid, len(data.test)] == [4, None, 1]
    assert (data.task, data.classes) == ("binary", ("cat", "dog"))
    assert data.train.x.shape == (4, 1, 2, 4)
    assert data.train.x[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6])
    assert data.notes["files"]["count"] > 2


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_a_file_is_divided_and_several_columns_are_a_dict(tmp_path: Path, kind: str) -> None:
    rows = {name: column for name, column in ROWS.items() if kind != "csv" or name != "b"}
    path = tmp_path / f"rows.{kind}"
    getattr(datasets.Dataset.from_dict(rows), f"to_{kind}")(path)
    data = read(path=str(path), target="word", inputs=[name for name in ("a", "b") if name in rows])
    assert data.classes == ("no", "yes")
    assert [len(data.train), len(data.valid), len(data.test)] == [14, 3, 3]
    if kind != "csv":
        assert {name: (x.dtype, x.shape[1:]) for name, x in data.train.x.items()} == {
            "a": (torch.float32, (1,)),
            "b": (torch.int64, (2,)),
        }
    assert read(path=str(path), target="label", inputs="a", task="regression").train.y.dtype == torch.float32


def test_read_as_needed_with_workers_the_numbers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    arguments = {"path": str(tmp_path / "saved"), "target": "label", "inputs": "b"}
    held = read(**arguments)
    monkeypatch.setattr(_held, "MOST", 0)
    lazy = read(**arguments)
    assert isinstance(held.train, Tensors)
    assert not isinstance(lazy.train, Tensors)
    for (x, y), (a, b) in zip(batches(held.train, 4), batches(lazy.train, 4, workers=1), strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"target": "lable"}, "did you mean 'label'"), ({}, "data.target: missing"),
     ({"target": "label"}, "word holds text"),
     ({"target": "label", "inputs": ["c"]}, "no column 'c'"), ({"target": "a", "inputs": ["a"]}, "leaves nothing"),
     ({"target": "word", "inputs": "a", "task": "regression"}, "holds no numbers")],
)  # fmt: skip
def test_wrong_columns(tmp_path: Path, arguments: dict[str, Any], problem: str) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match=problem):
        read(path=str(tmp_path / "saved"), **arguments)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path: .* is no dataset that can be read"):
        read(path=str(tmp_path), target="a")
