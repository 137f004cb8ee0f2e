"""The commonest transforms for a whole batch at once, on its device: for each example what torchvision's gives.

A function of this file takes a transform, a batch of pictures (n, ..., C, H, W), the targets that move along, and a key
for each example. Targets are torchvision's Mask, (n, ..., H, W), and BoundingBoxes, (n * k, 4) with k boxes for each
picture. What depends on the draws of one example is computed as torchvision.transforms.v2 does, so that
`transform.transform(x[i], params)` with these draws as its params has the same numbers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.settings import torch_private
from runner.training.augment import draws

#: Boxes that are drawn for RandomErasing, of which the first that fits is taken; as many as torchvision tries.
ATTEMPTS = 10

Targets = Sequence[Any]
Moved = tuple[Tensor, Targets]
Batched = Callable[[Any, Tensor, Targets, Tensor], Moved]


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


def flip(transform: Any, x: Tensor, targets: Targets, key: Tensor) -> Moved:
    """Mirror examples with probability `p`: RandomHorizontalFlip, RandomVerticalFlip."""
    from torchvision.transforms.v2 import functional

    horizontal = "Horizontal" in type(transform).__name__
    mirror = functional.horizontal_flip if horizontal else functional.vertical_flip
    chosen = draws.uniform(key, 0) < transform.p
    moved = [_where(_each(chosen, one), mirror(one).as_subclass(Tensor), one.as_subclass(Tensor)) for one in targets]
    return _where(chosen, x.flip(-1 if horizontal else -2), x), moved


def crop(transform: Any, x: Tensor, targets: Targets, key: Tensor) -> Moved:
    """Pad, and cut out a window at a place that is drawn: RandomCrop."""
    from torchvision.transforms.v2 import functional

    height, width = transform.size
    if transform.padding is not None:
        from_left, from_right, from_top, from_bottom = transform.padding
        around = [from_left, from_top, from_right, from_bottom]
        kind = {"padding": around, "padding_mode": transform.padding_mode}
        fills = [torch_private.padding_value(transform, type(one)) for one in (x, *targets)]
        x, *targets = (functional.pad(one, fill=fill, **kind) for one, fill in zip((x, *targets), fills, strict=True))
    down, right = x.shape[-2] - height + 1, x.shape[-1] - width + 1
    if down < 1 or right < 1:
        raise ValueError(f"size {[height, width]} is larger than the padded picture, {list(x.shape[-2:])}")
    if down == right == 1:
        return x, targets
    top, left = draws.below(key, 0, down), draws.below(key, 1, right)
    return _window(x, top, left, height, width), [_window_of(one, top, left, height, width) for one in targets]


def erase(transform: Any, x: Tensor, targets: Targets, key: Tensor) -> Moved:
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
    return torch.where(inside, value, x), targets


def brighten(transform: Any, x: Tensor, targets: Targets, key: Tensor) -> Moved:
    """Multiply by a number that is drawn, and cut off what is out of range: ColorJitter(brightness)."""
    low, high = transform.brightness
    factor = low + draws.uniform(key, 0) * (high - low)
    most = 1.0 if x.is_floating_point() else torch.iinfo(x.dtype).max
    brighter = x.mul(_beside(factor, x)).clamp(0, most)
    return brighter.to(x.dtype), targets


def same(transform: Any, x: Tensor, targets: Targets, key: Tensor) -> Moved:
    """Apply a transform that draws nothing, and changes no place."""
    return transform(x), targets


def _where(chosen: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(_beside(chosen, x), x, other)


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """Return one value for each example in a shape that goes with x."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def _each(values: Tensor, target: Tensor) -> Tensor:
    """Return one value for each row of a target, of which a picture has as many as it has boxes."""
    return values.repeat_interleave(len(target) // max(1, len(values)))


def _window_of(target: Any, top: Tensor, left: Tensor, height: int, width: int) -> Any:
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    if not isinstance(target, tv_tensors.BoundingBoxes):
        return _window(target.as_subclass(Tensor), top, left, height, width)
    corner = torch.stack([_each(left, target), _each(top, target)], 1).to(target.dtype)
    last = corner if target.format == tv_tensors.BoundingBoxFormat.XYXY else torch.zeros_like(corner)
    moved = target.as_subclass(Tensor) - torch.cat([corner, last], 1)
    return functional.clamp_bounding_boxes(tv_tensors.wrap(moved, like=target, canvas_size=(height, width)))


def _window(x: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    windows = x.unfold(-2, height, 1).unfold(-2, width, 1)  # (n, ..., down, right, height, width)
    order = windows.movedim((-4, -3), (1, 2))
    return order[torch.arange(len(x), device=x.device), top, left]
