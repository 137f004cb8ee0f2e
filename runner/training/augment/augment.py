"""The transforms of a run, for a batch: each example with draws of its own, whatever the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.data import Nest, nests
from runner.model import host
from runner.settings import random_state
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import Bound
from runner.training.augment import batched, draws, transforms
from runner.training.augment.batched import Batched
from runner.training.augment.moving import Moves


@dataclass(frozen=True)
class Step:
    """One transform."""

    transform: Callable[..., Any]
    batched: Batched | None  # for a whole batch; None: example by example
    pictures: bool  # True: torchvision's
    pairs: bool  # True: it takes an example and its target, and returns both


class Augment:
    """Applies the transforms of `data.augment` in their order.

    bounds: of `transforms.resolve`. moves: the targets that move along with their pictures, of `moving.moves`.
    """

    def __init__(self, bounds: Sequence[Bound], moves: Moves) -> None:
        self.moves, self.steps = moves, [_step(bound) for bound in bounds]

    def __call__(self, x: Tensor, y: Nest, key: Tensor, first: int = 0) -> tuple[Tensor, Nest]:
        """Return a batch of changed examples: x and y of shape (n, ...), on the device where they are.

        key: of `draws.keys`, int64 of shape (n,), on the same device. What is drawn for an example depends on its key
        alone. first: the transform to begin with.
        Raises ConfigError where what comes out is of unequal size.
        """
        for place in range(first, len(self.steps)):
            step, own = self.steps[place], draws.derived(key, place)
            if step.batched is not None:
                x, y = self._at_once(step, step.batched, x, y, own)
                continue
            changed, device = self._one_by_one(step, x, y, own), x.device
            if len(set(map(nests.key, changed))) > 1:  # a later transform may make them equal
                keys = host.tensor(key)
                changed = [self.alone(*one, keys[i : i + 1], place + 1) for i, one in enumerate(changed)]
                return _moved(joined(changed), device)
            x, y = _moved(joined(changed), device)
        return x, y

    def examples(self, pairs: Sequence[tuple[Tensor, Nest]], key: Tensor) -> tuple[Tensor, Nest]:
        """Return a batch of examples that may be of different shapes before they are changed."""
        if all(nests.key(pair) == nests.key(pairs[0]) for pair in pairs):
            return self(*joined(pairs), key)
        return joined([self.alone(*pair, key[i : i + 1]) for i, pair in enumerate(pairs)])

    def alone(self, x: Tensor, y: Nest, key: Tensor, first: int = 0) -> tuple[Tensor, Nest]:
        """Return one changed example."""
        batch = self(x[None], nests.mapped(lambda one: one[None], y), key, first)
        return nests.picked(batch, 0)  # type: ignore[no-any-return]

    def _at_once(self, step: Step, batched: Batched, x: Tensor, y: Nest, key: Tensor) -> tuple[Tensor, Nest]:
        targets = self._wrapped(x, y)
        x, moved = batched(step.transform, x, list(targets.values()), key)
        return x, self._unwrapped(dict(zip(targets, moved, strict=True)), y)

    def _one_by_one(self, step: Step, x: Tensor, y: Nest, key: Tensor) -> list[tuple[Tensor, Nest]]:
        """Return each example changed, on the processor, whose generators start from the example's key."""
        changed = []
        before = torch.get_rng_state()
        x_, y_ = host.tensor(x), nests.mapped(host.tensor, y)
        with random_state.started(0):  # puts the generators of Python and NumPy back as well
            for i, start in enumerate(draws.starts(key)):
                if step.pictures:
                    torch.default_generator.manual_seed(start)
                else:
                    random_state.start(start)
                changed.append(self._changed(step, x_[i], nests.picked(y_, i)))
        torch.set_rng_state(before)
        return changed

    def _changed(self, step: Step, x: Tensor, y: Nest) -> tuple[Tensor, Nest]:
        if step.pairs:
            x, y = step.transform(x.clone(), nests.mapped(Tensor.clone, y))
            return torch.as_tensor(x), y if isinstance(y, tuple | list | dict) else torch.as_tensor(y)
        if not (step.pictures and self.moves):
            return torch.as_tensor(step.transform(x if step.pictures else x.clone())), y
        from torchvision import tv_tensors

        targets = self._wrapped(x, y)
        moved = step.transform(tv_tensors.Image(x), *targets.values())
        return moved[0].as_subclass(Tensor), self._unwrapped(dict(zip(targets, moved[1:], strict=True)), y)

    def _wrapped(self, x: Tensor, y: Nest) -> dict[str, Any]:
        """Return the targets that move as torchvision's tensors, by their names. x, y: an example, or a batch."""
        if not self.moves:
            return {}
        height, width = x.shape[-2:]
        moving = [(name, one) for name, one in nests.named(y) if name in self.moves]
        return {name: self.moves[name].wrapped(one, (height, width)) for name, one in moving}

    def _unwrapped(self, moved: dict[str, Tensor], y: Nest) -> Nest:
        """Return y with the targets that have moved."""
        if not moved:
            return y
        named = nests.named(y)
        flat = [self.moves[name].unwrapped(moved[name], one) if name in moved else one for name, one in named]
        rest = iter(flat)
        return nests.mapped(lambda one: next(rest), y)


def joined(examples: Sequence[tuple[Tensor, Nest]]) -> tuple[Tensor, Nest]:
    """Return the batch of these examples. Raises ConfigError where they are of unequal size."""
    first, *others = map(tuple, examples)
    differing = (one for one in others if nests.key(one) != nests.key(first))
    if other := next((one for one in differing if nests.described(one) != nests.described(first)), None):
        forms = f"{nests.described(first)} and {nests.described(other)}"
        raise ConfigError(transforms.KEY, f"makes examples of unequal size, as (x, y) of {forms};"
            " expected one size for all, as a last {RandomCrop: 32} or {Resize: {size: [32, 32]}} gives")  # fmt: skip
    return nests.mapped(lambda *leaves: torch.stack(leaves), *map(tuple, examples))  # type: ignore[no-any-return]


def _moved(batch: tuple[Tensor, Nest], device: torch.device) -> tuple[Tensor, Nest]:
    return nests.mapped(lambda one: one.to(device), batch)  # type: ignore[no-any-return]


def _step(bound: Bound) -> Step:
    transform = transforms.make(bound)
    pictures = transforms.is_torchvisions(type(transform))
    whole = batched.find(transform) if pictures else None
    return Step(transform, whole, pictures, transforms.takes_target(transform))
