"""The transforms of a run, for a batch: each example with draws of its own, whatever the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from runner.model import host
from runner.settings import random_state
from runner.settings.values.lookup import Bound
from runner.training.augment import batched, draws, transforms


@dataclass(frozen=True)
class Step:
    """One transform."""

    transform: Callable[..., Any]
    batched: batched.Batched | None  # for a whole batch; None: example by example
    pictures: bool  # True: torchvision's
    pairs: bool  # True: it takes an example and its target, and returns both


class Augment:
    """Applies the transforms of `data.augment` in their order.

    bounds: of `transforms.resolve`. masks: targets are masks, which move along with their pictures.
    """

    def __init__(self, bounds: Sequence[Bound], masks: bool) -> None:
        self.masks, self.steps = masks, [_step(bound) for bound in bounds]

    def __call__(self, x: Tensor, y: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch of changed examples: x and y of shape (n, ...), on the device where they are.

        key: of `draws.keys`, int64 of shape (n,), on the same device. What is drawn for an example depends on its key
        alone.
        """
        for place, step in enumerate(self.steps):
            own = draws.derived(key, place)
            if step.batched is not None:
                x, mask = step.batched(step.transform, x, y if self.masks else None, own)
                y = y if mask is None else mask
            else:
                x, y = self._one_by_one(step, x, y, own)
        return x, y

    def examples(self, pairs: Sequence[tuple[Tensor, Tensor]], key: Tensor) -> Any:
        """Return a batch of examples that may be of different shapes before they are changed."""
        if all(x.shape == pairs[0][0].shape and y.shape == pairs[0][1].shape for x, y in pairs):
            x, y = default_collate(list(pairs))
            return self(x, y, key)
        changed = [self(x[None], y[None], key[i : i + 1]) for i, (x, y) in enumerate(pairs)]
        return default_collate([(x[0], y[0]) for x, y in changed])

    def _one_by_one(self, step: Step, x: Tensor, y: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Apply a transform to each example, on the processor, whose generators start from the example's key."""
        changed = []
        before = torch.get_rng_state()
        with random_state.started(0):  # puts the generators of Python and NumPy back as well
            for one, target, start in zip(host.tensor(x), host.tensor(y), draws.starts(key), strict=True):
                if step.pictures:
                    torch.default_generator.manual_seed(start)
                else:
                    random_state.start(start)
                changed.append(self._changed(step, one, target))
        torch.set_rng_state(before)
        xs, ys = (torch.stack(part).to(x.device) for part in zip(*changed, strict=True))
        return xs, ys

    def _changed(self, step: Step, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if step.pairs:
            x, y = step.transform(x.clone(), y.clone())
            return torch.as_tensor(x), torch.as_tensor(y)
        if not (step.pictures and self.masks):
            return torch.as_tensor(step.transform(x if step.pictures else x.clone())), y
        from torchvision import tv_tensors

        moved, mask = step.transform(tv_tensors.Image(x), tv_tensors.Mask(y))
        return moved.as_subclass(Tensor), mask.as_subclass(Tensor)


def _step(bound: Bound) -> Step:
    transform = transforms.make(bound)
    pictures = transforms.is_torchvisions(type(transform))
    whole = batched.find(transform) if pictures else None
    return Step(transform, whole, pictures, transforms.takes_target(transform))
