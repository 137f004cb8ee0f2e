"""Handwritten digits under noise, to find the ink in them."""

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits


def masks(noise: float = 0.3, valid: float = 0.15, test: float = 0.15) -> Data:
    """Read the digits: x as float32 of shape (N, 1, 8, 8) with normal noise; y, of the same shape, 1 where ink is."""
    clean = digits(valid, test)
    generator = torch.Generator().manual_seed(0)

    def part(source: Tensors | None) -> Tensors | None:
        if source is None:
            return None
        drawn = torch.randn(source.x.shape, generator=generator)
        return Tensors(source.x + noise * drawn, (source.x > 0.5).float())

    return Data(*map(part, (clean.train, clean.valid, clean.test)), task="regression")
