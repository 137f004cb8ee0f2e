"""Folds: the examples that are not for the test, divided alike, of which each in turn is the validation part."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from runner.data import Data, Tensors, nests, split
from runner.data._streams import is_stream
from runner.settings.errors import ConfigError

#: Folds that can be asked for; each is a training of its own.
MOST = 1000


@dataclass(frozen=True)
class Fold:
    """One fold of several. It stands for `valid` among the arguments of a source that divides its examples itself.

    valid: the fraction for validation without folds, by which the test part is drawn: it stays the same.
    held: the places of the validation examples among all of the source, once these are divided.
    """

    folds: int
    fold: int
    valid: float = 0.0
    held: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def parts(
        self, total: int, test: float, seed: int, strata: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the examples' indices in the three parts, each in rising order; None for an empty test part.

        The arguments are those of `runner.data._parts.parts`. Every class is divided alike over the folds.
        """
        train, valid, test_index = split(total, self.valid, test, seed, strata)
        pool = torch.cat([train, valid]).sort().values
        numbers = deal(len(pool), self.folds, seed, None if strata is None else strata[pool])
        return self.take(pool, numbers, test_index if len(test_index) else None)

    def take(self, pool: Tensor, numbers: Tensor, test: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the three parts. pool: the examples that are not for the test. numbers: the fold of each."""
        valid = pool[numbers == self.fold]
        if len(pool) < self.folds or not len(valid):
            raise ConfigError(
                "data.folds", f"{self.folds} are more than the {len(pool)} examples or groups that are not for the test"
            )
        self.held["valid"] = valid
        return pool[numbers != self.fold], valid, test


def of(folds: Any, fold: Any) -> Fold | None:
    """Return the fold that `data.folds` and `data.fold` name; None where both are null. Raises ConfigError."""
    if folds is None and fold is None:
        return None
    if folds is None:
        raise ConfigError("data.fold", f"{fold!r} stands without data.folds; give their number, e.g. data.folds=5")
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= MOST:
        raise ConfigError("data.folds", f"{folds!r} is not a whole number from 2 to {MOST:,}")
    if fold is None:
        raise ConfigError(
            "data.fold",
            f"missing beside data.folds={folds}; give the fold that validates, 0 to {folds - 1}, or train on each:"
            f" runner -m ... 'data.fold=range({folds})'",
        )
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < folds:
        raise ConfigError("data.fold", f"{fold!r} is not one of the {folds} folds, which are 0 to {folds - 1}")
    return Fold(folds, fold)


def deal(total: int, folds: int, seed: int, strata: Tensor | None = None) -> Tensor:
    """Return the fold of each of `total` examples, int64, by a draw from `seed`; folds differ by one example at most.

    strata: a class per example; each is dealt out in turn, so that folds differ by one example of it at most.
    """
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    if strata is not None:
        order = order[strata[order].argsort(stable=True)]
    numbers = torch.empty(total, dtype=torch.int64)
    numbers[order] = torch.arange(total) % folds
    return numbers


def deal_groups(ranks: Tensor, folds: int) -> Tensor:
    """Return the fold of each example, so that no group is in two: each, the largest first, goes to the smallest fold.

    ranks: the group of each example, int64, in an order that was drawn.
    """
    groups, counts = torch.unique(ranks, return_counts=True)
    sizes, of_group = [0] * folds, {}
    for group, count in sorted(zip(groups.tolist(), counts.tolist(), strict=True), key=lambda one: (-one[1], one[0])):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += count
        of_group[group] = smallest
    return torch.tensor([of_group[rank] for rank in ranks.tolist()])


def refuse(valid: Any, why: str) -> None:
    """Raise ConfigError for a fold where none can be cut. why: the reason."""
    if isinstance(valid, Fold):
        raise ConfigError("data.folds", f"{valid.folds} cannot be had: {why}")


def called(source: Callable[..., Data], arguments: dict[str, Any]) -> Data:
    """Return the data of a source, with the places of its validation examples where they are a fold."""
    data, fold = source(**arguments), arguments.get("valid")
    return replace(data, places=fold.held["valid"]) if isinstance(fold, Fold) else data


def cut(data: Data, fold: Fold, seed: int) -> Data:
    """Return data of a source of the user's own with another division of its training and validation examples."""
    train, valid = data.train, data.valid
    pool: Any = train
    if isinstance(train, Tensors) and isinstance(valid, Tensors | None):
        pool = train if valid is None else Tensors(*(nests.concatenated(pair) for pair in _pairs(train, valid)))
    elif is_stream(train) or is_stream(valid):
        refuse(fold, "a stream is read in its order; leave data.folds out")
    elif valid is not None:
        pool = ConcatDataset([train, valid])  # type: ignore[list-item]
    total = len(pool)
    y = pool.y if isinstance(pool, Tensors) and isinstance(pool.y, Tensor) else None
    whole = data.classes and y is not None and y.dim() == 1 and not y.is_floating_point()
    numbers = deal(total, fold.folds, seed, y if whole else None)
    rest, held, _ = fold.take(torch.arange(total), numbers, None)
    line = f"fold {fold.fold} of {fold.folds}: {len(held):,} of the {total:,} examples of train and valid validate"
    if "mean" in data.notes or "std" in data.notes:
        line += "; the source has standardized them by its own training part, some of which now validates"
    return replace(data, train=_at(pool, rest), valid=_at(pool, held), places=held, report=(*data.report, line))


def _pairs(train: Tensors, valid: Tensors) -> list[list[Any]]:
    return [[train.x, valid.x], [train.y, valid.y]]


def _at(pool: Any, index: Tensor) -> Any:
    return Tensors(*pool[index]) if isinstance(pool, Tensors) else Subset(pool, index.tolist())
