"""Pairs of handwritten digits, with two questions about each."""

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits


def pairs(many: int = 2000) -> Data:
    """Draw pairs of images, x = {left, right}, each (N, 1, 8, 8), of the same part of the digits.

    y = {left_digit, larger}: the digit on the left, and 1 where it is larger than that on the right.
    many: pairs to train on; for validation and test a quarter as many each.
    """
    images = digits()
    generator = torch.Generator().manual_seed(0)

    def part(source: Tensors | None, count: int) -> Tensors:
        assert source is not None
        left, right = torch.randint(len(source), (2, count), generator=generator)
        larger = (source.y[left] > source.y[right]).long()
        return Tensors(
            {"left": source.x[left], "right": source.x[right]}, {"left_digit": source.y[left], "larger": larger}
        )

    return Data(part(images.train, many), part(images.valid, many // 4), part(images.test, many // 4))
