"""Datasets as people have them: pairs of anything that is numbers become tensors; streams have a stated length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from runner.data import Data, batches
from runner.data._datasets import converted, tensor
from runner.settings.errors import ConfigError
from runner.training.state.fingerprint import fingerprint


class Pictures(Dataset[Any]):
    """As torchvision's: (picture, class) with `classes`."""

    classes = ("cat", "dog", "owl")

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> tuple[Any, int]:
        assert type(index) is int
        if index >= 9:
            raise IndexError
        return Image.new("RGB", (4, 2), (255, 0, 51 * (index % 3))), index % 3


class Stream(IterableDataset[Any]):
    begun = 0

    def __iter__(self) -> Iterator[Any]:
        type(self).begun += 1
        for i in range(20):
            yield np.full(3, float(i)), float(i)


def test_pictures_and_whole_numbers_become_tensors_and_classes() -> None:
    data = converted(Data(Pictures(), valid=Pictures()))
    x, y = data.train[4]
    assert (x.shape, x.dtype) == ((3, 2, 4), torch.float32)
    assert x[:, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert (y.dtype, y.shape, int(y)) == (torch.int64, (), 1)
    assert (data.task, data.classes) == ("multiclass", ("cat", "dog", "owl"))
    assert "picture (RGB, 4x2)" in data.report[-1]
    assert set(fingerprint(data)) == {"train", "valid"}


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(3, torch.int64), (True, torch.int64), (0.5, torch.float32), (np.float64(2), torch.float32),
     (np.zeros(2), torch.float32), (np.zeros(2, np.int32), torch.int64), (np.zeros(2, np.uint8), torch.uint8)],
)  # fmt: skip
def test_numbers_have_the_types_that_losses_take(value: Any, dtype: torch.dtype) -> None:
    assert tensor(value).dtype == dtype


class Sample(NamedTuple):
    image: float
    label: int


@dataclass
class Held:
    image: float
    label: int


@pytest.mark.parametrize("item", [Sample(0.5, 1), Held(0.5, 1), {"image": 0.5, "label": 1}])
def test_items_with_names_have_their_target_by_its_name(item: Any) -> None:
    items: Any = [item] * 3
    x, y = Data(items, target="label").train[0]
    assert (x, y) == (0.5, 1)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds a str"):
        tensor({"a": 1, "b": "text"})


def test_a_stream_is_read_in_order_and_goes_on_in_the_middle() -> None:
    data = converted(Data(Stream(), length=18))
    whole = [x[:, 0].tolist() for x, _ in batches(data.train, 4)]
    assert whole == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17]]
    assert [x[:, 0].tolist() for x, _ in batches(data.train, 4, start=3)] == whole[3:]
    assert [x[:, 0].tolist() for x, _ in batches(data.train, 4, workers=2)] == whole


def test_a_pass_over_a_stream_begins_it_once() -> None:
    data = converted(Data(Stream(), length=18))
    before = Stream.begun
    list(batches(data.train, 4))
    assert Stream.begun == before + 1


def test_a_stream_needs_its_length_and_may_not_be_shorter() -> None:
    with pytest.raises(ConfigError, match="unknown length"):
        Data(Stream())
    data = converted(Data(Stream(), length=21))
    with pytest.raises(ConfigError, match="ended after 20 examples"):
        list(batches(data.train, 7))
