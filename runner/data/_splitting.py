"""Division of examples into a training, a validation and a test set, drawn at random."""

import torch
from torch import Tensor


def split(
    total: int, valid: float, test: float, seed: int, strata: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return disjoint index tensors (train, valid, test) covering range(total), each in rising order.

    valid, test: fractions of the whole, each rounded to whole examples; together less than 1.
    seed: of the draw.
    strata: a class per example, int64 of shape (total,); every class is then split in the same proportions, as nearly
        as whole examples allow.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = [group[torch.randperm(len(group), generator=generator)] for group in _groups(total, strata)]
    valid_index, groups = _take(groups, round(total * valid))
    test_index, groups = _take(groups, round(total * test))
    return torch.cat(groups).sort().values, valid_index, test_index


def _groups(total: int, strata: Tensor | None) -> list[Tensor]:
    if strata is None:
        return [torch.arange(total)]
    sizes = torch.unique(strata, return_counts=True)[1].tolist()
    return list(torch.split(strata.argsort(stable=True), sizes))


def _take(groups: list[Tensor], count: int) -> tuple[Tensor, list[Tensor]]:
    """Return `count` examples in proportion from all groups, and the rest of the groups."""
    total = sum(len(group) for group in groups)
    taken, rest, owed = [], [], 0.0  # owed: the fraction of an example that rounding has withheld so far
    for group in groups:
        owed += len(group) * count / max(total, 1)
        n = round(owed)
        owed -= n
        taken.append(group[:n])
        rest.append(group[n:])
    return torch.cat(taken).sort().values, rest
