"""Tensors as images, and the ends of their colours."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def as_image(x: Tensor) -> NDArray[Any] | None:
    """Return x as `imshow` takes it, 0 to 1; None if it is no image.

    x: of shape (1, H, W), (3, H, W), (4, H, W) or (H, W), with H and W of at least 5.
    """
    if not is_image(x):
        return None
    shown = _in_range((x.unsqueeze(0) if x.dim() == 2 else x).float())
    return (shown[0] if len(shown) == 1 else shown.permute(1, 2, 0)).numpy()


def is_image(x: Tensor) -> bool:
    """Return whether `as_image` has an image of x. It asks for the shape alone: checks have no values yet."""
    channels, *size = (1, *x.shape) if x.dim() == 2 else x.shape
    return len(size) == 2 and channels in (1, 3, 4) and min(size) >= 5


def limit_of(values: Tensor) -> float:
    """Return the largest size of a finite number, where the colours end; 1 where all are 0."""
    finite = values[values.isfinite()]
    return float(finite.abs().max()) or 1.0 if len(finite) else 1.0


def _in_range(x: Tensor) -> Tensor:
    """Return values from 0 to 1 as they are, and others (standardized images, bytes) stretched to 0 to 1."""
    x = torch.nan_to_num(x)
    low, high = x.min(), x.max()
    return x if low >= 0 and high <= 1 else (x - low) / (high - low).clamp(min=1e-12)
