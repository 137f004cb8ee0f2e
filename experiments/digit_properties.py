"""Labels of which several hold at once: what is true of the number that a digit shows."""

from dataclasses import replace

import torch

from runner.data import Data, Tensors
from runner.data.digits import digits

#: Property -> the digits that have it.
PROPERTIES = {"even": (0, 2, 4, 6, 8), "prime": (2, 3, 5, 7), "loop": (0, 6, 8, 9), "above_4": (5, 6, 7, 8, 9)}


def properties(valid: float = 0.15, test: float = 0.15, seed: int = 0) -> Data:
    """Return the digits with 0 or 1 for each property, float32 of shape (N, 4). Arguments: those of `digits`."""
    data = digits(valid, test, flat=False, seed=seed)
    held = torch.tensor([[float(digit in digits_) for digits_ in PROPERTIES.values()] for digit in range(10)])

    def labelled(part: Tensors) -> Tensors:
        return Tensors(part.x, held[part.y])

    parts = {name: part and labelled(part) for name in ("train", "valid", "test") if (part := getattr(data, name))}
    return replace(data, **parts, task="multilabel", classes=tuple(PROPERTIES))
