"""Folds divide what is not for the test: each example validates once, and no scale comes from one that does."""

import numpy as np
import pandas
import pytest
import torch

from runner.data import Data, Tensors
from runner.data._folds import Fold, called, cut
from runner.data.diabetes import diabetes
from runner.data.digits import digits
from runner.data.table import table
from runner.settings.errors import ConfigError


def each(source, folds: int, **arguments) -> list[Data]:
    return [called(source, {**arguments, "valid": Fold(folds, fold, 0.15)}) for fold in range(folds)]


def test_every_example_validates_once_and_the_test_part_stays() -> None:
    parts, without = each(digits, 4), digits()
    places = torch.cat([one.places for one in parts])
    assert len(places.unique()) == len(places) == len(without.train) + len(without.valid)
    for one in parts:
        assert torch.equal(one.test.x, without.test.x)
        assert len(one.train) + len(one.valid) == len(places)
        counts = torch.bincount(one.valid.y, minlength=10)
        assert counts.max() - counts.min() <= 3  # of each of ten digits alike


def test_a_fold_is_standardized_by_its_own_training_part() -> None:
    for one in each(diabetes, 3):
        assert one.train.x.mean(0).abs().max() < 1e-5
        assert one.valid.x.mean(0).abs().max() > 1e-3


def test_groups_stay_together(tmp_path) -> None:
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"who": rng.integers(0, 12, 90), "a": range(90), "b": rng.normal(size=90)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    parts = each(table, 3, path=str(tmp_path / "t.csv"), target="b", split={"group": "who"})
    groups = [set(frame["who"].iloc[one.places.numpy()]) for one in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    with pytest.raises(ConfigError, match=r"data\.split\.by"):
        each(table, 3, path=str(tmp_path / "t.csv"), target="b", split={"by": "a"})


def test_data_of_the_users_own_is_divided_alike() -> None:
    data = Data(
        Tensors(torch.arange(8.0)[:, None], torch.arange(8) % 2),
        valid=Tensors(torch.arange(8.0, 12)[:, None], torch.arange(4) % 2),
        task="classification",
    )
    parts = [cut(data, Fold(3, fold), 0) for fold in range(3)]
    assert sorted(torch.cat([one.valid.x for one in parts]).flatten().tolist()) == list(range(12))
    assert all(one.valid.y.sum() == 2 for one in parts)
    assert torch.equal(parts[1].valid.x.flatten().long(), parts[1].places)
