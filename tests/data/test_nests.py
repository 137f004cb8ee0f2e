"""Batches of several tensors: read, split, moved and recognized as those of one tensor are."""

import collections
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.data import Data, Tensors, batches, nests
from runner.data._reading import Reader
from runner.settings.errors import ConfigError
from runner.training.state.fingerprint import fingerprint

Pair = collections.namedtuple("Pair", "left right")


def several(count: int = 10) -> Tensors:
    x = torch.arange(count * 3.0).reshape(count, 3)
    return Tensors({"image": x, "pair": (x + 1, [x + 2])}, {"digit": torch.arange(count), "parity": torch.ones(count)})


class Items(torch.utils.data.Dataset[Any]):
    def __init__(self, source: Tensors) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self.source[index]


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
    reader = Reader(Items(source), workers)
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
