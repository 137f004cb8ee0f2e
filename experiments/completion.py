"""Digits as a table of images and pixels of which a part is missing: experiments/digits_completed.yaml."""

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits


def entries(images: int = 200, missing: float = 0.2, seed: int = 0) -> Data:
    """Return entries of the table: x has the numbers of image and pixel, (N,) each, and y the ink, (N, 1), 0 to 1.

    missing: share of the entries that is held back, one half of it for validation and one for the test.
    """
    table = digits(flat=True).train.x[:images]  # type: ignore[union-attr]
    order = torch.randperm(table.numel(), generator=torch.Generator().manual_seed(seed))
    cut = round(table.numel() * missing / 2)

    def part(places: torch.Tensor) -> Tensors:
        image, pixel = places // 64, places % 64
        return Tensors({"image": image, "pixel": pixel}, table[image, pixel].unsqueeze(1))

    return Data(part(order[2 * cut :]), part(order[:cut]), part(order[cut : 2 * cut]))
