"""`data.split`: parts by the order of a column, by groups and as a column says."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit

from runner.data.table import table
from tests.data.test_data import refused, same_data

FRACTIONS = [(0.15, 0.15), (0.0, 0.3), (0.4, 0.0), (0.3, 0.5), (0.0, 0.0)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frame(total: int = 60, seed: int = 0, **more: Any) -> pandas.DataFrame:
    """Rows that can be told apart by y."""
    rng = np.random.default_rng(seed)
    return pandas.DataFrame({"x": rng.normal(size=total), **more, "y": np.arange(total) + 0.5})


def parts(rows: pandas.DataFrame, **arguments: Any) -> list[list[int]]:
    """The places of the rows in the training, validation and test part."""
    rows.to_csv("t.csv", index=False)
    found = table("t.csv", "y", **arguments)
    assert found.notes["features"] == ["x"]
    held = [[] if p is None else (p.y.flatten() - 0.5).int().tolist() for p in (found.train, found.valid, found.test)]
    assert sorted(chain(*held)) == list(range(len(rows)))
    assert all(part == sorted(part) for part in held)
    return held


@pytest.mark.parametrize(("valid", "test"), FRACTIONS)
@pytest.mark.parametrize(
    "when",
    [
        lambda days: days.strftime("%Y-%m-%d"),
        lambda days: days.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        lambda days: days.strftime("%Y%m%d").astype(int),
        lambda days: days.strftime(" %Y-%m-%d %H:%M "),
        lambda days: np.arange(60) - 30.25,
    ],
    ids=["dates", "zones", "numbers of days", "times", "numbers"],
)
def test_by_a_column_the_earliest_train_and_the_latest_test(here, when, valid, test):
    order = np.random.default_rng(3).permutation(60)
    rows = frame(when=np.asarray(when(pandas.date_range("1999-12-20", periods=60)))[order])
    found = parts(rows, split={"by": "when"}, valid=valid, test=test)
    ranks = [sorted(order[part].tolist()) for part in found]
    assert [len(part) for part in found[1:]] == [round(60 * valid), round(60 * test)]
    assert list(chain(*ranks)) == list(range(60))


def test_dates_of_a_parquet_file_are_sorted_too(here):
    order = np.random.default_rng(3).permutation(40)
    rows = frame(40, when=pandas.date_range("2024-01-01", periods=40)[order])
    rows.to_parquet("t.parquet")
    rows.to_csv("t.csv", index=False)
    first, second = (table(name, "y", split={"by": "when"}) for name in ("t.parquet", "t.csv"))
    assert same_data(first, second)
    assert set((first.test.y.flatten() - 0.5).int().tolist()) == set(np.flatnonzero(order >= 34).tolist())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=6, max_size=60), st.sampled_from(FRACTIONS), st.sampled_from(["by", "group"])
)
def test_equal_values_are_never_in_two_parts_and_the_cut_is_the_nearest(tmp_path_factory, keys, fractions, kind):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    total, (valid, test) = len(keys), fractions
    wanted = [n for n in (round(total * valid), round(total * test)) if n]
    frame(total, key=keys).to_csv(path, index=False)
    arguments = {"path": str(path), "target": "y", "valid": valid, "test": test, "split": {kind: "key"}}
    if len(set(keys)) <= len(wanted):
        with refused(f"data.split.{kind}", f"column 'key' has {len(set(keys))} different value", "too few"):
            table(**arguments)
        return
    found = table(**arguments)
    held = [
        [] if part is None else [keys[i] for i in (part.y.flatten() - 0.5).int().tolist()]
        for part in (found.train, found.valid, found.test)
    ]
    assert sorted(chain(*held)) == sorted(keys)
    assert [bool(part) for part in held] == [True, round(total * valid) > 0, round(total * test) > 0]
    sets = [set(part) for part in held]
    assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]
    if kind == "by":
        assert sorted(keys) == [key for part in held for key in sorted(part)]
        # No other place between two values is nearer to where a single part that was asked for would begin.
        if len(wanted) == 1:
            edges = [i for i in range(1, total) if sorted(keys)[i] != sorted(keys)[i - 1]]
            miss = min(abs(edge - (total - wanted[0])) for edge in edges)
            assert abs(len(held[0]) - (total - wanted[0])) == miss


def test_groups_are_as_disjoint_as_scikit_learns_and_drawn_from_the_seed(here):
    patients = np.random.default_rng(1).integers(0, 25, 200)
    rows = frame(200, patient=[f"p{n}" for n in patients])
    found = parts(rows, split={"group": "patient"}, valid=0.2, test=0.2)
    groups = [set(patients[part].tolist()) for part in found]
    [(train, test)] = GroupShuffleSplit(1, test_size=0.2, random_state=0).split(patients, groups=patients)
    assert not set(patients[train]) & set(patients[test])  # the law, as scikit-learn keeps it
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert set.union(*groups) == set(patients.tolist())
    largest = np.bincount(patients).max()
    assert all(abs(len(part) - 40) <= largest for part in found[1:])
    assert found == parts(rows, split={"group": "patient"}, valid=0.2, test=0.2)
    assert found != parts(rows, split={"group": "patient"}, valid=0.2, test=0.2, seed=1)


@pytest.mark.parametrize(
    "names",
    [lambda n: n * 1000, lambda n: [f"p{i}" for i in n], lambda n: [f" p{i}{' ' * (k % 3)}" for k, i in enumerate(n)]],
)
def test_what_the_groups_are_called_does_not_matter(here, names):
    numbers = np.sort(np.random.default_rng(1).integers(0, 9, 60))
    rows, plain = frame(patient=names(numbers)), frame(patient=numbers)
    assert parts(rows, split={"group": "patient"}) == parts(plain, split={"group": "patient"})


@pytest.mark.parametrize("words", [("train", "valid", "test"), ("Train", "val", " TEST ")])
def test_a_column_says_the_parts(here, words):
    said = np.random.default_rng(2).integers(0, 3, 60)
    rows = frame(part=[words[n] for n in said])
    found = parts(rows, split={"column": "part"}, valid=0.9, test=0.05)
    assert found == [np.flatnonzero(said == part).tolist() for part in range(3)]


def test_fractions_of_the_training_rows_stand_in_for_parts_that_the_column_does_not_name(here):
    said = np.array(["train"] * 40 + ["test"] * 20)
    _, valid, test = parts(frame(part=said), split={"column": "part"}, valid=0.25)
    assert test == list(range(40, 60))
    assert len(valid) == 10
    assert parts(frame(part=said), split={"column": "part"}, valid=0)[1] == []
    rows = frame(part=said, kind=["a", "b"] * 30)
    rows.to_csv("t.csv", index=False)
    drawn = table("t.csv", "kind", features=["x"], split={"column": "part"}, valid=0.25)
    assert drawn.valid.y.bincount().tolist() == [5, 5]  # from every class alike


def test_numbers_are_standardized_by_the_training_rows_alone(here):
    rows = frame(day=np.arange(60))
    rows["x"] += rows["day"] * 3
    rows.to_csv("t.csv", index=False)
    found = table("t.csv", "y", split={"by": "day"}, valid=0.2, test=0.3)
    train = rows["x"].to_numpy()[:30]
    assert found.notes["mean"] == pytest.approx([train.mean()])
    assert found.notes["std"] == pytest.approx([train.std()])
    assert torch.allclose(found.train.x.mean(), torch.zeros(()), atol=1e-6)
    assert found.test.x.min() > found.train.x.max()


def test_a_column_that_sorts_or_groups_can_be_asked_for_as_a_feature(here):
    frame(day=np.arange(60)).to_csv("t.csv", index=False)
    found = table("t.csv", "y", features=["x", "day"], split={"by": "day"})
    assert found.notes["features"] == ["x", "day"]


DAYS = pandas.date_range("2024-01-01", periods=60)


@pytest.mark.parametrize(
    ("columns", "arguments", "key", "words"),
    [
        ({}, {"split": {"bye": "x"}}, "data.split", ["{'bye': 'x'} is not one of", "did you mean 'by'"]),
        ({}, {"split": {"by": "x", "group": "x"}}, "data.split", ["is not one of {by: COLUMN}"]),
        ({}, {"split": {"by": ["x"]}}, "data.split.by", ["['x'] is not the name of a column"]),
        ({}, {"split": {"by": "day"}}, "data.split.by", ["no column 'day'"]),
        ({}, {"split": {"group": "y"}}, "data.split.group", ["names the target 'y'"]),
        ({"p": "train"}, {"split": {"column": "p"}, "features": ["x", "p"]}, "data.features", ["names of the parts"]),
        (
            {"p": ["train"] * 59 + ["tset"]},
            {"split": {"column": "p"}},
            "data.split.column",
            ["'tset' in row 59", "'test'"],
        ),
        (
            {"p": [True] * 60},
            {"split": {"column": "p"}},
            "data.split.column",
            ["'True' in row 0; expected train, valid"],
        ),
        ({"p": ["test"] * 60}, {"split": {"column": "p"}}, "data.split.column", ["holds train in no row"]),
        ({"p": ["train"] * 59 + [None]}, {"split": {"column": "p"}}, "data.split.column", ["'p' in 1 of 60 rows"]),
        (
            {"d": DAYS.strftime("%d.%m.%Y")},
            {"split": {"by": "d"}},
            "data.split.by",
            ["'01.01.2024' in row 0", "dayfirst"],
        ),
        ({"d": ["first", "last"] * 30}, {"split": {"by": "d"}}, "data.split.by", ["no certain place in time"]),
        ({"d": [1.0] * 59 + [None]}, {"split": {"by": "d"}}, "data.split.by", ["'d' in 1 of 60 rows"]),
        ({"g": ["a"] * 60}, {"split": {"group": "g"}}, "data.split.group", ["1 different value, too few for 3 parts"]),
        ({"g": range(60)}, {"split": {"group": "g"}, "valid": 2}, "data.valid", ["2 is not a fraction"]),
    ],
)
def test_splits_that_cannot_be_made_are_refused(here, columns, arguments, key, words):
    frame(**columns).to_csv("t.csv", index=False)
    with refused(key, *words):
        table("t.csv", "y", **arguments)


def test_the_advice_on_dates_helps(here):
    rows = frame(day=DAYS.strftime("%d/%m/%Y"))
    rows["day"] = pandas.to_datetime(rows["day"], dayfirst=True)
    assert parts(rows, split={"by": "day"})[2] == list(range(51, 60))
    assert Path("t.csv").read_text().splitlines()[1].split(",")[1] == "2024-01-01"
