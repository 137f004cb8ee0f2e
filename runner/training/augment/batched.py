"""The commonest transforms for a whole batch at once, on its device: for each example what torchvision's gives.

A function of this file takes a transform, a batch of pictures (n, ..., C, H, W), one of masks (n, ..., H, W) or None,
and a key for each example. What depends on the draws of one example is computed as torchvision.transforms.v2 does, so
that `transform.transform(x[i], params)` with these draws as its params has the same numbers.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runner.settings import torch_private
from runner.training.augment import draws

#: Boxes that are drawn for RandomErasing, of which the first that fits is taken; as many as torchvision tries.
ATTEMPTS = 10

Moved = tuple[Tensor, Tensor | None]
Batched = Callable[[Any, Tensor, Tensor | None, Tensor], Moved]


def find(transform: Any) -> Batched | None:
    """Return the batched version of a transform of torchvision; None where there is none for it or its arguments."""
    from torchvision.transforms import v2

    kind = type(transform)
    if kind in (v2.RandomHorizontalFlip, v2.RandomVerticalFlip):
        return flip
    if kind is v2.RandomCrop and not transform.pad_if_needed:
        return crop
    if kind is v2.RandomErasing and transform.value is not None:
        return erase
    if (
        kind is v2.ColorJitter
        and transform.brightness
        and not (transform.contrast or transform.saturation or transform.hue)
    ):
        return brighten
    return same if kind is v2.Identity else None


def flip(transform: Any, x: Tensor, mask: Tensor | None, key: Tensor) -> Moved:
    """Mirror examples with probability `p`: RandomHorizontalFlip, RandomVerticalFlip."""
    side = -1 if "Horizontal" in type(transform).__name__ else -2
    chosen = draws.uniform(key, 0) < transform.p
    return _where(chosen, x.flip(side), x), None if mask is None else _where(chosen, mask.flip(side), mask)


def crop(transform: Any, x: Tensor, mask: Tensor | None, key: Tensor) -> Moved:
    """Pad, and cut out a window at a place that is drawn: RandomCrop."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    height, width = transform.size
    if transform.padding is not None:
        from_left, from_right, from_top, from_bottom = transform.padding
        around = [from_left, from_top, from_right, from_bottom]
        kind = {"padding": around, "padding_mode": transform.padding_mode}
        x = functional.pad(x, fill=torch_private.padding_value(transform, torch.Tensor), **kind)
        if mask is not None:
            value = torch_private.padding_value(transform, tv_tensors.Mask)
            moved = functional.pad(tv_tensors.Mask(mask), fill=value, **kind)
            mask = moved.as_subclass(Tensor)
    down, right = x.shape[-2] - height + 1, x.shape[-1] - width + 1
    if down < 1 or right < 1:
        raise ValueError(f"size {[height, width]} is larger than the padded picture, {list(x.shape[-2:])}")
    top, left = draws.below(key, 0, down), draws.below(key, 1, right)
    return _window(x, top, left, height, width), None if mask is None else _window(mask, top, left, height, width)


def erase(transform: Any, x: Tensor, mask: Tensor | None, key: Tensor) -> Moved:
    """Overwrite a box of a drawn size at a drawn place, with probability `p`: RandomErasing."""
    rows, columns = x.shape[-2:]
    low, high = (math.log(ratio) for ratio in transform.ratio)
    first = 1 + 4 * torch.arange(ATTEMPTS, device=x.device)  # of an attempt's four draws
    tries = key[:, None]
    share, ratio = (draws.uniform(tries, first + i).double() for i in (0, 1))
    area = rows * columns * (transform.scale[0] + share * (transform.scale[1] - transform.scale[0]))
    aspect = torch.exp(low + ratio * (high - low))
    height, width = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (height < rows) & (width < columns)
    top = draws.below(tries, first + 2, (rows - height + 1).clamp(min=1))
    left = draws.below(tries, first + 3, (columns - width + 1).clamp(min=1))
    chosen = fits.to(torch.uint8).argmax(1, keepdim=True)  # the first that fits
    top, left, height, width = (part.gather(1, chosen) for part in (top, left, height, width))
    height = height * fits.any(1, keepdim=True)  # where none does, nothing is erased
    y, x_ = torch.arange(rows, device=x.device), torch.arange(columns, device=x.device)
    inside = ((y >= top) & (y < top + height))[:, :, None] & ((x_ >= left) & (x_ < left + width))[:, None, :]
    inside &= (draws.uniform(key, 0) < transform.p)[:, None, None]
    inside = inside.reshape(len(x), *[1] * (x.dim() - 3), rows, columns)
    value = torch.tensor(transform.value, dtype=x.dtype, device=x.device)[:, None, None]
    return torch.where(inside, value, x), mask


def brighten(transform: Any, x: Tensor, mask: Tensor | None, key: Tensor) -> Moved:
    """Multiply by a number that is drawn, and cut off what is out of range: ColorJitter(brightness)."""
    low, high = transform.brightness
    factor = low + draws.uniform(key, 0) * (high - low)
    most = 1.0 if x.is_floating_point() else torch.iinfo(x.dtype).max
    brighter = x.mul(_beside(factor, x)).clamp(0, most)
    return brighter.to(x.dtype), mask


def same(transform: Any, x: Tensor, mask: Tensor | None, key: Tensor) -> Moved:
    """Apply a transform that draws nothing, and changes no place."""
    return transform(x), mask


def _where(chosen: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(_beside(chosen, x), x, other)


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """Return one value for each example in a shape that goes with x."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def _window(x: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    windows = x.unfold(-2, height, 1).unfold(-2, width, 1)  # (n, ..., down, right, height, width)
    order = windows.movedim((-4, -3), (1, 2))
    return order[torch.arange(len(x), device=x.device), top, left]
