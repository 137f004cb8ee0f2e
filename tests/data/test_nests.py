"""Batches of several tensors: read, split, moved and recognized as those of one tensor are."""

import collections
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from runner.data import Data, Tensors, batches, nests
from runner.data._items import paired
from runner.data._reading import Reader
from runner.data._rows import rows
from runner.data.arrays import arrays, brief
from runner.settings.errors import ConfigError
from runner.training.state.fingerprint import fingerprint
from tests.support.on_disk import OnDisk

Pair = collections.namedtuple("Pair", "left right")


def several(count: int = 10) -> Tensors:
    x = torch.arange(count * 3.0).reshape(count, 3)
    return Tensors({"image": x, "pair": (x + 1, [x + 2])}, {"digit": torch.arange(count), "parity": torch.ones(count)})


def same(one: Any, other: Any) -> bool:
    pairs = zip(nests.named(one), nests.named(other), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_nest_keeps_its_form() -> None:
    nest = Pair(torch.zeros(2), {"a": [torch.ones(2)], "b": (torch.ones(2),)})
    doubled = nests.mapped(lambda tensor: tensor * 2, nest)
    assert type(doubled) is Pair
    assert type(doubled.right["a"]) is list
    assert type(doubled.right["b"]) is tuple
    assert [name for name, _ in nests.named(nest)] == ["0", "1.a.0", "1.b.0"]
    assert same(nests.concatenated([nest, nest]), nests.mapped(lambda tensor: tensor.repeat(2), nest))


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(ConfigError, match=r"x\.image has 3 examples and x\.text has 2"):
        Tensors({"image": torch.zeros(3), "text": torch.zeros(2)}, torch.zeros(3))


@pytest.mark.parametrize("copies", [True, False])
def test_batches_of_a_nest_are_those_of_each_tensor(copies: bool) -> None:
    source = several()
    alone = Tensors(source.x["image"], source.y["digit"])
    options: Any = {"size": 3, "epoch": 2, "seed": 4, "shuffle": True, "start": 1, "copies": copies}
    for (x, y), (image, digit) in zip(batches(source, **options), batches(alone, **options), strict=True):
        assert torch.equal(x["image"], image)
        assert torch.equal(x["pair"][1][0], image + 2)
        assert torch.equal(y["digit"], digit)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_gives_the_batches_of_its_tensors(workers: int) -> None:
    source = several()
    reader = Reader(OnDisk(source), workers)
    read = list(reader.read([(0, [3, 1]), (1, [0])]))
    reader.close()
    assert type(read[0][0]["pair"]) is tuple
    assert all(same(batch, source[torch.tensor(index)]) for batch, index in zip(read, [[3, 1], [0]], strict=True))


def test_a_whole_nest_is_copied_after_a_layer_has_written_into_one_of_its_tensors() -> None:
    source = several()
    stream = source.whole()
    first, _ = next(stream)
    assert next(stream)[0] is first
    first["pair"][0].zero_()
    again, _ = next(stream)
    assert same(again, source.x)


def test_a_fingerprint_is_of_all_tensors_and_of_their_names() -> None:
    source = several()
    digest = fingerprint(Data(source))["train"]
    source.y["parity"][3] = 0
    assert fingerprint(Data(source))["train"] != digest
    x: Tensor = torch.zeros(4, 2)
    names = [fingerprint(Data(Tensors({name: x}, x)))["train"] for name in "ab"]
    assert names[0] != names[1]


class Rows(torch.utils.data.Dataset[Any]):
    """Ten items that `make` makes of their numbers."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return self.make(torch.tensor([float(index)]))


def test_a_dataset_of_three_tensors_has_two_inputs_and_says_so() -> None:
    source, line = paired(Rows(lambda i: (i, i + 1, i + 2)), "")
    assert [float(part) for part in source[4][0]] == [4, 5]
    assert float(source[4][1]) == 6
    assert "the first 2 are the inputs" in line


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("label", "{image: (1,), text: (1,)}, (1,)"),
        (["label"], "{image: (1,), text: (1,)}, {label: (1,)}"),
        (["label", "text"], "(1,), {label: (1,), text: (1,)}"),
        (("label", "text"), "(1,), {label: (1,), text: (1,)}"),
    ],
)
def test_the_target_of_a_dict_is_named(target: Any, form: str) -> None:
    data = Data(Rows(lambda i: {"image": i, "text": i, "label": i}), target=target)
    assert nests.described(data.train[0]) == f"({form})"
    part = Subset(data.train, [1])  # as of a fold, or of a part of the batches
    assert nests.described(replace(data, train=part).train[0]) == f"({form})"


def test_a_dict_without_a_named_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="say which is the target"):
        paired(Rows(lambda i: {"image": i, "label": i}), "")


def test_arrays_of_several_inputs_are_divided_alike(tmp_path: Path) -> None:
    a, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    for name, array in {"a": a, "b": a[:, 0].astype(int), "y": y}.items():
        np.save(tmp_path / f"{name}.npy", array)
    x = {name: str(tmp_path / f"{name}.npy") for name in "ab"}
    data = arrays(x=x, y=str(tmp_path / "y.npy"), indices=["b"])
    assert data.train.x["b"].dtype == torch.int64
    for source in (data.train, data.valid, data.test):
        assert torch.equal(source.x["a"][:, 0], source.x["b"][:, 0].float())
    with pytest.raises(ConfigError, match=r"data\.indices: 'c' is not one of a, b"):
        arrays(x=x, y=str(tmp_path / "y.npy"), indices=["c"])
    assert arrays(x=x, y=str(tmp_path / "y.npy"), indices=None).train.x["b"].dtype == torch.float32


def test_the_checks_know_how_many_indices_a_named_input_has(tmp_path: Path) -> None:
    for name, array in {"a": np.zeros((9, 2)), "b": np.arange(9), "y": np.arange(9) % 3}.items():
        np.save(tmp_path / f"{name}.npy", array)
    files = {name: str(tmp_path / f"{name}.npy") for name in "ab"}
    assert rows(brief(x=files, y=str(tmp_path / "y.npy"), indices=["b"])) == [0, 9]
    assert rows(brief(x=files["b"], y=str(tmp_path / "y.npy"), indices=True)) == [9]
    assert rows(brief(x=files["b"], y=str(tmp_path / "y.npy"))) == [0]
