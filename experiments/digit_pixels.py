"""A class for each pixel: paper, or ink of one of the digits from 0 to 9."""

from dataclasses import replace

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits


def pixels(valid: float = 0.15, test: float = 0.15, seed: int = 0, noise: float = 0.1) -> Data:
    """Return noisy digits, (N, 1, 8, 8), and a class for each pixel, int64 of shape (N, 8, 8): 0, or 1 + the digit.

    noise: the deviation of the normal noise on the pixels, which are from 0 to 1; ink is above 0.3 without it.
    """
    data = digits(valid, test, flat=False, seed=seed)
    generator = torch.Generator().manual_seed(seed)

    def labelled(part: Tensors) -> Tensors:
        noisy = part.x + noise * torch.randn(part.x.shape, generator=generator)
        return Tensors(noisy, torch.where(part.x[:, 0] > 0.3, part.y[:, None, None] + 1, 0))

    parts = {name: labelled(part) for name in ("train", "valid", "test") if (part := getattr(data, name))}
    return replace(data, **parts, classes=("paper", *data.classes))
