"""A reader makes one pass at a time, whatever becomes of the passes before."""

import gc
from typing import Any

import pytest
import torch

from runner.data._reading import Reader


class Numbers(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([float(index)]), torch.tensor([float(index)])


def read(reader: Reader, *chunks: list[int]) -> list[list[float]]:
    return [x[:, 0].tolist() for x, _ in reader.read(list(enumerate(chunks)))]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reader_makes_one_pass_at_a_time_after_one_that_ends_late(workers: int) -> None:
    reader = Reader(Numbers(), workers)
    late = reader.read([(0, [1]), (1, [2])])
    next(late)
    with pytest.raises(AssertionError):
        read(reader, [9])
    reader.close()
    under_way = reader.read([(0, [3]), (1, [4])])
    next(under_way)
    late.close()
    gc.collect()
    with pytest.raises(AssertionError):  # the late end is not that of the pass under way
        read(reader, [9])
    assert [x.item() for x, _ in under_way] == [4.0]
    assert read(reader, [5, 6], [7]) == [[5.0, 6.0], [7.0]]  # the control: after a pass comes another
    reader.close()
