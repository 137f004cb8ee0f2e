"""A data source of random images, a class of random labels for each: `benchmarks.random_images.images`."""

import torch

from runner.data import Data, Tensors


def images(examples: int = 50_000, valid: int = 500, side: int = 32) -> Data:
    """Return `examples` images of 3 channels for training and `valid` for validation, of 10 classes."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        Tensors(
            torch.randn(count, 3, side, side, generator=generator), torch.randint(10, (count,), generator=generator)
        )
        for count in (examples, valid)
    ]
    return Data(*parts, task="classification", classes=tuple("0123456789"))
