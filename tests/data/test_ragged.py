"""Examples of unequal length: batches by `data.collate`, the same with workers, and without a trace of the padding."""

import re
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, Subset

from runner.data import Data, batches
from runner.data._datasets import converted
from runner.data._ragged import collated, lined_up, pad, resolve
from runner.settings.errors import ConfigError


class Lists(Dataset[Any]):
    classes = ("even", "odd")

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Any:
        return list(range(1, self.lengths[index] + 1)), self.lengths[index] % 2


def data_of(lengths: list[int], collate: Any = "pad") -> Data:
    found = resolve(collate)
    assert found is not None
    return collated(converted(Data(Lists(lengths)), vectors=True), found)


def test_batches_are_as_long_as_their_longest_example() -> None:
    data = data_of([2, 3, 1, 1])
    first, second = batches(data.train, 2)
    assert first[0].tolist() == [[1, 2, 0], [1, 2, 3]]
    assert (second[0].tolist(), second[1].tolist()) == ([[1], [1]], [1, 1])
    assert (data.task, data.classes) == ("binary", ("even", "odd"))
    assert data.train[1][0].tolist() == [1, 2, 3]


def test_workers_and_subsets_give_the_same_batches() -> None:
    train = Subset(data_of([2, 3, 1, 5, 4], {"pad": {"padding": -1, "lengths": True}}).train, [4, 0, 3])
    here, there = (list(batches(train, 2, workers=workers)) for workers in (0, 1))
    assert here[0][0]["values"].tolist() == [[1, 2, 3, 4], [1, 2, -1, -1]]
    for (x, y), (a, b) in zip(here, there, strict=True):
        assert torch.equal(y, b)
        assert all(torch.equal(x[name], a[name]) for name in ("values", "lengths"))


def test_targets_of_places_are_filled_up_with_what_losses_leave_out() -> None:
    items = [({"a": torch.ones(2), "b": torch.ones(1)}, torch.ones(2).long()),
             ({"a": torch.ones(1), "b": torch.ones(3)}, torch.ones(1).long())]  # fmt: skip
    x, y = pad(items, lengths=True)
    assert y.tolist() == [[1, 1], [1, -100]]
    assert (x["a_lengths"].tolist(), x["b_lengths"].tolist()) == ([2, 1], [1, 3])
    with pytest.raises(ConfigError, match="decimal points"):
        pad([(x, y.float()) for x, y in items])
    with pytest.raises(ConfigError, match="dimensions"):
        pad([(torch.ones(2), torch.ones(1)), (torch.ones(2, 2), torch.ones(1))])


def test_without_a_collate_examples_of_unequal_length_are_refused() -> None:
    train = converted(Data(Lists([2, 3])), vectors=True).train
    with pytest.raises(ConfigError, match=re.escape("((2,), ()) and ((3,), ())")):
        list(batches(train, 2))


def test_outputs_of_unequal_length_stand_in_one_array() -> None:
    whole = lined_up([torch.zeros(2, 3, 1), torch.zeros(1, 3, 2)])
    assert whole.shape == (3, 3, 2)
    assert whole[:2, :, 1].isnan().all()
    assert not whole[2].isnan().any()
