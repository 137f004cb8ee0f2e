"""Digits somewhere on a larger canvas, to read them and to find their place."""

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits


def placed(canvas: int = 24, valid: float = 0.15, test: float = 0.15, seed: int = 0) -> Data:
    """Read the digits, each on a black canvas: x as float32 of shape (N, 1, canvas, canvas).

    The targets are {"digit": ..., "box": ...}: the class, and left, top, right and bottom of its ink in pixels, (N, 4).
    """
    read = digits(valid=valid, test=test)
    generator = torch.Generator().manual_seed(seed)

    def part(source: Tensors) -> Tensors:
        x = torch.zeros(len(source), 1, canvas, canvas)
        places = torch.randint(canvas - 7, (len(source), 2), generator=generator)
        for picture, digit, (top, left) in zip(x, source.x, places.tolist(), strict=True):
            picture[:, top : top + 8, left : left + 8] = digit
        return Tensors(x, {"digit": source.y, "box": ink(x[:, 0] > 0)})

    return Data(*(part(one) for one in (read.train, read.valid, read.test)))


def ink(there: torch.Tensor) -> torch.Tensor:
    """Return the smallest boxes around what is True, (N, 4). there: of shape (N, height, width)."""

    def ends(line: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ones = line.float()
        return ones.argmax(1), line.shape[1] - ones.flip(1).argmax(1)

    (left, right), (top, bottom) = ends(there.any(1)), ends(there.any(2))
    return torch.stack([left, top, right, bottom], 1).float()
