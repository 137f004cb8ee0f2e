"""The transforms of a run, tried on the first examples before work starts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from runner.data import Data, Nest, Tensors, nests
from runner.settings.errors import ConfigError, brief
from runner.settings.values.lookup import Bound
from runner.training.augment import draws, moving, transforms
from runner.training.augment.augment import Augment, joined
from runner.training.augment.moving import Masks, Moves

#: Examples that are tried, and the draws that each is tried with.
TRIED, DRAWS = 2, 4


def first(data: Data) -> Tensors:
    """Return the first examples; of inputs that are not read yet, numbers of their shape."""
    if not isinstance(data.train, Tensors):
        return Tensors(*(nests.mapped(lambda one: torch.stack([one] * TRIED), part) for part in data.train[0]))
    x, y = data.train[:TRIED]
    x = torch.full(x.shape, 0.5) if x.is_meta and x.is_floating_point() else x.clone()
    return Tensors(x, nests.mapped(Tensor.clone, y))


def made(bounds: Sequence[Bound], moves: Moves, data: Data, plain: Tensors) -> Tensors:
    """Return examples as the transforms make them. Raises ConfigError for one that fails, and for other types.

    bounds: of `transforms.resolve`. moves: of `moving.moves`. plain: the examples.
    """
    moving.check_values(moves, data)
    if plain.x.is_meta:
        return plain
    key = draws.keys(0, 0, torch.arange(len(plain) * DRAWS))
    examples = [plain[i % len(plain)] for i in range(len(key))]
    for bound in bounds:
        x, name = examples[0][0], bound.target.__name__
        if transforms.is_torchvisions(bound.target) and x.dim() < 3:
            raise ConfigError(
                bound.key,
                f"{name} is a transform of pictures (channels, height, width), and an example has shape"
                f" {list(x.shape)}; leave it out, or name a function of your own",
            )
        augment = Augment([bound], moves)
        try:
            examples = [augment.alone(*example, key[i : i + 1]) for i, example in enumerate(examples)]
        except ConfigError:
            raise
        except Exception as error:
            message = f"{name} fails on an example of shape {list(x.shape)}: {brief(error)}"
            raise ConfigError(bound.key, message) from error
    changed = Tensors(*nests.picked(joined(examples), slice(len(plain))))
    _check_alike(bounds, moves, changed, plain)
    return changed


def _check_alike(bounds: Sequence[Bound], moves: Moves, changed: Tensors, plain: Tensors) -> None:
    """Raise ConfigError for examples of another type, and for targets of another shape that are no masks."""
    new, old = dict(nests.named(changed.y)), dict(nests.named(plain.y))
    same = list(new) == list(old) and all(
        one.dtype == (other := old[name]).dtype and (isinstance(moves.get(name), Masks) or one.shape == other.shape)
        for name, one in new.items()
    )
    if same and changed.x.dtype == plain.x.dtype:
        return
    made, given = (changed.x, plain.x) if same else (changed.y, plain.y)
    what = "examples" if same else "targets"
    raise ConfigError(
        key_of(bounds),
        f"the transforms make {what} of {_form(made)} from {_form(given)}, and validation sees these; both must be"
        " alike: leave out what changes it, or do it in the data",
    )


def key_of(bounds: Sequence[Bound]) -> str:
    """Return the key of the transforms: that of the only one, or of them all."""
    return bounds[0].key if len(bounds) == 1 else transforms.KEY


def _form(nest: Nest) -> str:
    """Return shape and type of one example of a batch, in words."""
    if not isinstance(nest, Tensor):
        return nests.described(nests.picked(nest, 0))
    return f"{list(nest.shape[1:])} of {str(nest.dtype).removeprefix('torch.')}"
