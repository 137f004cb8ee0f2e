"""MixUp and CutMix: the examples of a batch are mixed with others of it, and so are their targets."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from runner.data import Batch


@dataclass(frozen=True)
class Mix:
    """Mixes batches as torchvision's MixUp and CutMix do, each example with the one before it.

    mixup, cutmix: alpha; the share of a batch's own examples is drawn from Beta(alpha, alpha). Of both, one is taken
        for each batch, each as often. None: not this one.
    classes: the number of classes, where targets are class indices, which become shares of classes.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2017); Yun et al., "CutMix" (2019).
    """

    mixup: float | None
    cutmix: float | None
    classes: int | None

    def __call__(self, batch: Batch, seed: int, epoch: int, number: int) -> Batch:
        """Return batch `number` of an epoch, mixed. What is drawn depends on the last three alone."""
        x, y = batch
        generator = np.random.default_rng([seed, epoch, number])
        y = self._shares(y, x.dtype)
        boxes = self.mixup is None or (self.cutmix is not None and generator.random() < 0.5)
        if boxes:
            assert self.cutmix is not None
            x, share = _boxed(x, generator, float(generator.beta(self.cutmix, self.cutmix)))
        else:
            assert self.mixup is not None
            share = float(generator.beta(self.mixup, self.mixup))
            x = x.roll(1, 0).mul_(1.0 - share).add_(x.mul(share))
        return x, y.roll(1, 0).mul_(1.0 - share).add_(y.mul(share))

    def _shares(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        if y.is_floating_point() or self.classes is None:
            return y
        shares = torch.nn.functional.one_hot(y, self.classes).to(dtype)
        return shares.movedim(-1, 1)  # (n, classes, ...), as losses take them


def _boxed(x: Tensor, generator: np.random.Generator, share: float) -> tuple[Tensor, float]:
    """Put a box of the example before it into each; return the share of its own that is left, too."""
    rows, columns = x.shape[-2:]
    row, column = int(generator.integers(rows)), int(generator.integers(columns))
    half = 0.5 * (1.0 - share) ** 0.5
    height, width = int(half * rows), int(half * columns)
    top, bottom = max(row - height, 0), min(row + height, rows)
    left, right = max(column - width, 0), min(column + width, columns)
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x.roll(1, 0)[..., top:bottom, left:right]
    return mixed, 1.0 - (bottom - top) * (right - left) / (rows * columns)


#: Mixes a batch by (batch, seed, epoch, number).
Mixer = Callable[[Batch, int, int, int], Batch]
