"""Data sources give what they promise or say what is wrong; batches are a pure function of their arguments."""

import pickle
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import yaml
from PIL import Image

from runner import data
from runner.data import Data, Tensors, batches, count, split
from runner.data.arrays import arrays
from runner.data.diabetes import diabetes
from runner.data.digits import digits
from runner.data.images import images
from runner.data.line import line
from runner.data.table import encode, table
from runner.settings.errors import ConfigError
from tests.support import components
from tests.support.on_disk import OnDisk

SOURCES = ["arrays", "diabetes", "digits", "images", "line", "table"]
SIZES = [(1, None), (7, None), (7, 1), (7, 2), (7, 3), (7, 7), (7, 9), (10, 5)]


def examples(total: int) -> Tensors:
    return Tensors(torch.arange(total * 2.0).reshape(total, 2), torch.arange(total))


def same(first: Any, second: Any) -> bool:
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


def same_data(first: Data, second: Data) -> bool:
    parts = [(getattr(first, p), getattr(second, p)) for p in ("train", "valid", "test")]
    return (
        first.task == second.task
        and first.classes == second.classes
        and first.notes == second.notes
        and all((a is None) == (b is None) and (a is None or same(a, b)) for a, b in parts)
    )


def refused(key: str, *words: str) -> Any:
    """A ConfigError for `key` whose message has all the words, in this order."""
    return pytest.raises(ConfigError, match=f"(?s)^{re.escape(key)}: .*" + ".*".join(re.escape(w) for w in words))


# ---------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(("total", "size"), SIZES)
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_example_comes_exactly_once_in_an_epoch(total, size, shuffle):
    seen = torch.cat([y for _, y in batches(examples(total), size, shuffle=shuffle, epoch=3, seed=5)])
    assert sorted(seen.tolist()) == list(range(total))


@pytest.mark.parametrize(("total", "size"), SIZES)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_starting_later_leaves_out_the_first_batches(total, size, drop_last, shuffle):
    arguments = {"shuffle": shuffle, "drop_last": drop_last, "epoch": 2, "seed": 1}
    for source in (examples(total), OnDisk(examples(total))):
        whole = list(batches(source, size, **arguments))
        assert len(whole) == count(source, size, drop_last)
        for start in range(len(whole) + 2):
            assert same(batches(source, size, start=start, **arguments), whole[start:])


def test_drop_last_leaves_out_only_a_smaller_batch():
    assert [len(x) for x, _ in batches(examples(7), 3, drop_last=True)] == [3, 3]
    assert [len(x) for x, _ in batches(examples(6), 3, drop_last=True)] == [3, 3]


def test_batches_depend_on_seed_and_epoch_alone():
    def order(**arguments):
        return [y.tolist() for _, y in batches(examples(50), 10, shuffle=True, **arguments)]

    first = order(seed=1, epoch=4)
    torch.rand(3)
    interleaved = [y.tolist() for _, y in batches(examples(50), 10, shuffle=True, seed=1, epoch=4) if torch.rand(1) < 2]
    assert order(seed=1, epoch=4) == first == interleaved
    assert order(seed=1, epoch=5) != first
    assert order(seed=2, epoch=4) != first
    assert order(seed=-1, epoch=4) != first


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("size", "shuffle"), [(4, True), (None, True), (4, False)])
def test_a_dataset_on_disk_gives_the_same_batches_as_memory(workers, size, shuffle):
    arguments = {"shuffle": shuffle, "seed": 3, "epoch": 1, "start": 0 if size is None else 1}
    on_disk = list(batches(OnDisk(examples(10)), size, workers=workers, **arguments))
    assert same(on_disk, batches(examples(10), size, **arguments))
    assert all(type(batch) is tuple for batch in on_disk)


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_the_global_random_state_alone(workers):
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    list(batches(examples(9), 2, shuffle=True))
    list(batches(OnDisk(examples(9)), 2, shuffle=True, workers=workers))
    split(9, 0.2, 0.2, seed=0)
    digits()
    line()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize("size", [None, 2, 9])
def test_a_model_that_works_in_place_does_not_change_the_data(size):
    source = examples(5)
    for x, _ in batches(source, size):
        x.zero_()
    assert torch.equal(source.x, examples(5).x)


def test_tensors_and_data_refuse_what_cannot_be_trained_on():
    with refused("data", "x has 2 examples and y has 3"):
        Tensors(torch.zeros(2, 1), torch.zeros(3, 1))
    with refused("data", "the train set has no examples"):
        Data(examples(0))
    with refused("data", "the valid set has no examples"):
        Data(examples(2), examples(0))


# ------------------------------------------------------------------------------------------------------------ split

FRACTIONS = [(0.0, 0.0), (0.15, 0.15), (0.5, 0.4), (0.1, 0.5), (0.0, 0.99), (1 / 3, 1 / 3)]


@pytest.mark.parametrize(("valid", "test"), FRACTIONS)
@pytest.mark.parametrize("classes", [None, 1, 3, 40])
@pytest.mark.parametrize("total", [1, 2, 40, 137])
def test_parts_are_disjoint_cover_everything_and_have_the_sizes_asked_for(total, valid, test, classes):
    strata = None if classes is None else torch.arange(total) % classes
    found = split(total, valid, test, seed=7, strata=strata)
    assert sorted(torch.cat(found).tolist()) == list(range(total))
    assert [len(part) for part in found[1:]] == [round(total * valid), round(total * test)]


@pytest.mark.parametrize(("valid", "test"), FRACTIONS)
def test_every_class_is_split_in_the_same_proportions(valid, test):
    labels = torch.tensor([3] * 100 + [-1] * 20 + [8] * 57)[torch.randperm(177, generator=torch.Generator())]
    for part, fraction in zip(split(177, valid, test, 0, labels), (1 - valid - test, valid, test), strict=True):
        for label, size in ((3, 100), (-1, 20), (8, 57)):
            assert abs(int((labels[part] == label).sum()) - size * fraction) <= 1.01


def test_a_split_is_drawn_from_its_seed():
    assert same([split(50, 0.2, 0.2, 1)], [split(50, 0.2, 0.2, 1)])
    assert not torch.equal(split(50, 0.2, 0.2, 1)[1], split(50, 0.2, 0.2, 2)[1])


@pytest.mark.parametrize(
    ("fractions", "key", "words"),
    [
        ({"valid": -0.1}, "data.valid", ["-0.1 is not a fraction", "data.valid=0.15"]),
        ({"test": 1.0}, "data.test", ["1 is not a fraction"]),
        ({"valid": float("nan")}, "data.valid", ["nan is not a fraction"]),
        ({"valid": 0.5, "test": 0.5}, "data.valid", ["valid=0.5 and test=0.5", "sum below 1"]),
        ({"valid": 0.9999, "test": 0}, "data.valid", ["of 442 examples leave none to train on", "smaller fractions"]),
    ],
)
def test_fractions_that_leave_nothing_are_refused(fractions, key, words):
    with refused(key, *words):
        diabetes(**fractions)


# -------------------------------------------------------------------------------------------------- bundled sources


def test_the_folder_is_the_list_of_sources():
    assert set(SOURCES) <= set(data.names())
    assert not [name for name in data.names() if name.startswith("_")]
    assert all(data.find(name).__name__ == name for name in data.names())
    assert data.find("_files") is None


def test_reading_the_digits_imports_nothing_heavy():
    code = "import sys; from runner import data; [data.find(n) for n in data.names()]; data.find('digits')()"
    code += "; print([m for m in ('sklearn', 'pandas', 'PIL', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    found = digits(valid=0, test=0)
    assert found.valid is None
    assert found.test is None
    assert found.train.x.shape == (1797, 1, 8, 8)
    assert found.train.x.dtype == torch.float32
    assert np.array_equal(found.train.x.reshape(-1, 64).numpy() * 16, x)
    assert np.array_equal(found.train.y.numpy(), y)
    assert (found.task, found.classes) == ("multiclass", tuple("0123456789"))


def test_digits_are_split_by_class():
    found = digits(flat=True, seed=4)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [1257, 270, 270]
    assert found.train.x.shape == (1257, 64)
    for part in (found.valid, found.test):
        assert part.y.bincount().min() >= 25
        assert part.y.bincount().max() <= 29
    assert same_data(found, digits(flat=True, seed=4))
    assert not torch.equal(found.valid.x, digits(flat=True, seed=5).valid.x)


def test_diabetes_is_scikit_learns_standardized_by_the_training_part():
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(scaled=False)
    found = diabetes(seed=1)
    assert found.notes["features"] == loaded.feature_names
    parts = (found.train, found.valid, found.test)
    assert [len(part) for part in parts] == [310, 66, 66]
    assert found.task == "regression"
    x, y = (torch.cat([getattr(part, name) for part in parts]) for name in "xy")
    raw = x.double().numpy() * found.notes["std"] + found.notes["mean"]
    assert y.shape == (442, 1)
    assert y.dtype == torch.float32
    assert np.allclose(np.sort(y.numpy()[:, 0]), np.sort(loaded.target))
    assert np.allclose(np.sort(raw, axis=0), np.sort(loaded.data, axis=0), rtol=1e-5)
    assert torch.allclose(found.train.x.mean(0), torch.zeros(10), atol=1e-5)
    assert torch.allclose(found.train.x.std(0, correction=0), torch.ones(10), atol=1e-5)


def test_the_tables_are_found_even_when_scikit_learn_moves_them(monkeypatch, tmp_path):
    first = diabetes()
    monkeypatch.setattr("runner.data._bundled._folder", lambda: tmp_path)
    assert same_data(diabetes(), first)
    assert len(digits().train) == 1257


# ----------------------------------------------------------------------------------------------------------- arrays


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(**held: Any) -> dict[str, Any]:
    np.savez("xy.npz", **held)
    return {"path": "xy.npz"}


def x(n: int = 20) -> np.ndarray:
    return np.arange(n * 3.0).reshape(n, 3)


def test_arrays_with_a_decimal_point_are_a_regression(here):
    found = arrays(**save(x=x(), y=np.linspace(0, 1, 20)), valid=0.25, test=0)
    assert found.task == "regression"
    assert found.classes == ()
    assert found.train.x.dtype == found.train.y.dtype == torch.float32
    assert found.train.y.shape == (15, 1)
    assert len(found.valid) == 5
    assert found.test is None
    assert torch.allclose(found.train.y[:, 0], found.train.x[:, 0] / 57)


@pytest.mark.parametrize(
    ("y", "classes", "task"),
    [
        (np.array([7, 3, 5, 3] * 5), ("3", "5", "7"), "multiclass"),
        (np.array([1, -1] * 10, dtype=np.int8), ("-1", "1"), "binary"),
        (np.array([2, 1] * 10, dtype=np.uint64), ("1", "2"), "binary"),
        (np.array([True, False] * 10), ("False", "True"), "binary"),
        (np.array(["dog", "cat", "ape", "cat"] * 5), ("ape", "cat", "dog"), "multiclass"),
        (np.array([b"dog", b"cat"] * 10), ("cat", "dog"), "binary"),
        (np.array([[4], [9]] * 10), ("4", "9"), "binary"),
    ],
)
def test_whole_numbers_truth_values_and_text_are_classes(here, y, classes, task):
    found = arrays(**save(x=x(), y=y), valid=0, test=0)
    assert (found.task, found.classes) == (task, classes)
    assert found.train.y.dtype == torch.int64
    texts = np.char.decode(y) if y.dtype.kind == "S" else y.astype(str)
    assert [classes[i] for i in found.train.y] == texts.ravel().tolist()


def test_a_class_with_a_single_example_is_fine(here):
    found = arrays(**save(x=x(), y=np.array([0] * 18 + [1, 2])), valid=0.2, test=0.2)
    assert found.classes == ("0", "1", "2")
    assert [len(found.valid), len(found.test)] == [4, 4]


def test_arrays_are_split_by_class(here):
    for seed in range(5):
        found = arrays(**save(x=x(40), y=np.arange(40) % 4), valid=0.2, test=0.3, seed=seed)
        assert [part.y.bincount().tolist() for part in (found.valid, found.test)] == [[2] * 4, [3] * 4]


def test_task_overrules_the_kind_of_numbers(here):
    held = save(x=x(), y=np.array([0, 1] * 10))
    assert arrays(**held, task="regression").train.y.dtype == torch.float32
    found = arrays(**save(x=x(), y=np.array([0.0, 2.0] * 10)), task="classification")
    assert found.classes == ("0", "2")


def test_given_parts_are_used_instead_of_fractions(here):
    held = save(x=x(), y=np.arange(20) % 2, x_valid=x(4), y_valid=np.array([0, 1, 1, 5]))
    found = arrays(**held, valid=0.9, test=0.25)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [15, 4, 5]
    assert found.valid.y.tolist() == [0, 1, 1, 2]
    assert found.classes == ("0", "1", "5")
    held = save(x=x(), y=np.arange(20, dtype=np.uint64) % 2, x_test=x(4), y_test=np.array([0, 1, 1, 1]))
    found = arrays(**held, valid=0)
    assert found.valid is None
    assert [len(found.train), len(found.test)] == [20, 4]


def test_named_classes_are_indexed_by_number_or_looked_up(here):
    names = ["a", "b", "c"]
    assert arrays(**save(x=x(), y=np.array([2, 0] * 10)), classes=names).train.y.unique().tolist() == [0, 2]
    found = arrays(**save(x=x(), y=np.array(["c", "b"] * 10)), classes=names)
    assert found.classes == ("a", "b", "c")
    assert found.train.y.unique().tolist() == [1, 2]
    assert arrays(**save(x=x(), y=np.array([1.0, 0.0] * 10)), classes=["no", "yes"]).task == "binary"


def test_two_npy_files_are_the_same_as_one_npz(here):
    y = np.arange(20) % 4
    np.save("x.npy", x())
    np.save("y.npy", y)
    assert same_data(arrays(x="x.npy", y="y.npy"), arrays(**save(x=x(), y=y)))
    assert same_data(arrays(x=str(here / "x.npy"), y="y.npy", seed=1), arrays(path="xy.npz", seed=1))
    assert not same_data(arrays(path="xy.npz", seed=2), arrays(path="xy.npz", seed=1))


def test_inputs_become_float32_or_stay_indices(here):
    held = save(x=np.arange(20, dtype=">i2"), y=np.zeros(20), other=np.array([{}], dtype=object))
    assert arrays(**held).train.x.shape == (14, 1)
    assert arrays(**held).train.x.dtype == torch.float32
    assert arrays(**held, indices=True).train.x.dtype == torch.int64
    assert arrays(**save(x=np.ones((20, 2, 5), np.uint8), y=np.zeros(20))).train.x.shape == (14, 2, 5)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (np.zeros((20, 28, 28), np.uint8), "doubtful: x is uint8 and keeps its scale, for pixels 0 to 255: x / 255"),
        (np.zeros((20, 32, 24, 3), np.float32), "the second, of 32: x.transpose(0, 3, 1, 2)"),
        (np.arange(20) + 1_600_000_000, "x holds whole numbers above 16,777,216, which float32 rounds"),
        (np.zeros((20, 3, 32, 24), np.float32), "x (20, 3, 32, 24) float32, y (20,) int64"),
    ],
)
def test_arrays_are_reported_with_what_is_unusual(here, held, words):
    report = arrays(**save(x=held, y=np.arange(20) % 2)).report
    assert words in report[0]
    assert ("doubtful" in report[0]) == (held.shape[1:] != (3, 32, 24))


def test_bytes_that_are_no_text_are_no_classes(here):
    with refused("data.path", "y holds text that is not UTF-8"):
        arrays(**save(x=x(), y=np.array([b"\xff", b"\xfe"] * 10)))


def nan_at(array: np.ndarray, place: Any, value: float = np.nan) -> np.ndarray:
    array = array.astype(float)
    array[place] = value
    return array


OBJECTS = np.array([{}, None] * 10, dtype=object)


@pytest.mark.parametrize(
    ("held", "arguments", "key", "words"),
    [
        ({"x": x(), "Y": x()}, {}, "data.path", ["no 'y'", "did you mean 'Y'"]),
        ({"x_train": x(), "y": x()}, {}, "data.path", ["'x_train'", "no 'x'"]),
        ({"x": x(), "y": x(), "x_val": x()}, {}, "data.path", ["'x_val'", "did you mean 'x_valid'"]),
        ({"x": x(), "y": x(), "x_test": x()}, {}, "data.path", ["x_test is there without y_test"]),
        ({"x": x(), "y": x(19)}, {}, "data.path", ["x has 20 examples and y has 19"]),
        ({"x": np.float64(1), "y": x()}, {}, "data.path", ["x is a single value"]),
        ({"x": x(0), "y": x(0)}, {}, "data", ["no examples"]),
        ({"x": x(1), "y": x(1)}, {"valid": 0.6}, "data.valid", ["1 example leave none"]),
        ({"x": x(), "y": x(), "x_valid": x()[:, :2], "y_valid": x()}, {}, "data.path", ["x_valid", "(2,)", "x (3,)"]),
        ({"x": nan_at(x(), (4, 2)), "y": x()}, {}, "data.path", ["x[4, 2] is nan; 1 of its 60 values"]),
        ({"x": x(), "y": nan_at(x()[:, 0], 3, np.inf)}, {}, "data.path", ["y[3] is inf"]),
        ({"x": nan_at(x(), (0, 0), 1e300), "y": x()}, {}, "data.path", ["x[0, 0] is 1e+300, more than float32"]),
        ({"x": x().astype(str), "y": x()}, {}, "data.path", ["x holds text; expected numbers"]),
        ({"x": x() + 1j, "y": x()}, {}, "data.path", ["x holds values of type complex128"]),
        ({"x": OBJECTS, "y": x()}, {}, "data.path", ["x in 'xy.npz' cannot be read", "Object arrays", "np.savez"]),
        ({"x": x(), "y": np.ones(20, int)}, {}, "data.path", ["y holds one class only, '1'", "at least two"]),
        (
            {"x": x(), "y": np.full((20, 3), 4)},
            {},
            "data.path",
            ["y holds one class only, '4'", "data.task=regression"],
        ),
        ({"x": x(), "y": x()[:, 0].astype("M8[D]")}, {}, "data.path", ["y holds values of type datetime64[D]"]),
        ({"x": x(), "y": x()[:, 0] + 0.5}, {"task": "classification"}, "data.path", ["y[0] is 0.5; expected whole"]),
        ({"x": x(), "y": nan_at(x()[:, 0], 1)}, {"task": "classification"}, "data.path", ["y[1] is nan"]),
        ({"x": x(), "y": np.array(["a", "b"] * 10)}, {"task": "regression"}, "data.path", ["y holds text"]),
        (
            {"x": x(), "y": np.arange(20), "x_test": x(2), "y_test": np.array(["0", "1"])},
            {},
            "data.path",
            ["y_test holds text and y holds whole numbers"],
        ),
        ({"x": x(), "y": np.arange(20)}, {"classes": ["a", "b"]}, "data.classes", ["y[2] is 2; expected 0 to 1"]),
        ({"x": x(), "y": np.array(["dog", "cat"] * 10)}, {"classes": ["dgo", "cat"]}, "data.classes", ["mean 'dgo'"]),
        ({"x": x(), "y": np.arange(20)}, {"classes": ["a", "a"]}, "data.classes", ["all different"]),
        ({"x": x(), "y": x()}, {"indices": True}, "data.indices", ["x holds numbers with a decimal point"]),
        ({"x": x(), "y": x()}, {"x": "x.npy"}, "data.path", ["stands beside data.x", "either one .npz"]),
        ({"x": x(), "y": x()}, {"valid": 0.7, "test": 0.7}, "data.valid", ["sum below 1"]),
    ],
)
def test_arrays_that_cannot_be_used_are_named(here, held, arguments, key, words):
    with refused(key, *words):
        arrays(**(save(**held) | arguments))


def test_files_that_are_no_arrays_are_refused(here):
    held = {"x": x(), "y": x()}
    np.savez("good.npz", **held)
    whole = Path("good.npz").read_bytes()
    broken = {"empty.npz": b"", "pickle.npz": pickle.dumps(held), "text.npz": b"1,2\n", "half.npz": whole[:300]}
    broken["flipped.npz"] = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    for name, content in broken.items():
        Path(name).write_bytes(content)
        with refused("data.path", repr(name), "cannot be read", "np.savez"):
            arrays(path=name)
    np.save("x.npy", x())
    np.save("objects.npy", OBJECTS)
    with refused("data.path", "'x.npy' is one array", "data.x=x.npy"):
        arrays(path="x.npy")
    with refused("data.y", "'good.npz' holds several arrays"):
        arrays(x="x.npy", y="good.npz")
    with refused("data.x", "'objects.npy' cannot be read", "Object arrays"):
        arrays(x="objects.npy", y="x.npy")


def test_a_file_that_is_missing_is_named_with_the_nearest(here):
    np.savez("good.npz", x=x(), y=x())
    (here / "folder").mkdir()
    with refused("data.path", f"there is no 'goood.npz' in {here}", "did you mean 'good.npz'"):
        arrays(path="goood.npz")
    with refused("data.path", "there is no 'foldr'", "did you mean 'folder'"):
        arrays(path="foldr/deep/good.npz")
    with refused("data.path", f"there is no '{here}/bad.npz'"):
        arrays(path=f"{here}/bad.npz")
    with refused("data.path", "'folder' is a folder; expected an .npz file", "data.path=xy.npz"):
        arrays(path="folder")
    with refused("data.path", "missing", "data.path=xy.npz"):
        arrays()
    with refused("data.y", "missing; give the .npy file that holds y, e.g. data.y=y.npy"):
        np.save("x.npy", x())
        arrays(x="x.npy")
    with refused("data.x", "missing; give the .npy file that holds x"):
        arrays(y="y.npy")


# ------------------------------------------------------------------------------------------------------------ table


def rows(n: int = 40, **more: Any) -> pandas.DataFrame:
    columns = {"age": np.arange(n), "height": np.linspace(1.5, 2.0, n), "price": np.arange(n) * 2.5}
    return pandas.DataFrame(columns | more)


def csv(frame: pandas.DataFrame, **arguments: Any) -> dict[str, Any]:
    frame.to_csv("file.csv", index=False)
    return {"path": "file.csv", "target": "price"} | arguments


def test_a_table_is_standardized_by_its_training_rows(here):
    found = table(**csv(rows()), seed=3)
    assert found.task == "regression"
    assert (found.train.x.shape, found.train.y.shape, found.train.y.dtype) == ((28, 2), (28, 1), torch.float32)
    assert torch.allclose(found.train.x.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(found.train.x.std(0, correction=0), torch.ones(2))
    assert found.valid.x.mean(0).abs().max() > 1e-3
    assert found.notes["features"] == found.notes["columns"] == ["age", "height"]
    assert found.notes["target"] == "price"
    ages = found.valid.x[:, 0] * found.notes["std"][0] + found.notes["mean"][0]
    assert torch.allclose(ages * 2.5, found.valid.y[:, 0])
    assert same_data(found, table(**csv(rows()), seed=3))


def test_parquet_is_the_same_as_csv(here):
    frame = rows(kind=["a", "b"] * 20, flag=[True, False, False, True] * 10)
    frame.to_parquet("file.parquet")
    assert same_data(table("file.parquet", "price"), table(**csv(frame)))
    frame["kind"] = frame["kind"].astype("category")
    frame["flag"] = frame["flag"].astype("boolean")
    frame["age"] = frame["age"].astype("Int64")
    frame.to_parquet("file.parquet")
    assert same_data(table("file.parquet", "price"), table(**csv(frame)))


def test_a_constant_column_does_not_divide_by_zero(here):
    found = table(**csv(rows(same=[0.1] * 40)))
    assert found.notes["std"][2] == 1
    assert found.train.x[:, 2].abs().max() < 1e-6


def test_text_and_truth_values_become_columns_of_0_and_1(here):
    found = table(**csv(rows(kind=["b", "a", "b", "c"] * 10, flag=[True, False] * 20)), valid=0, test=0)
    assert found.notes["features"] == ["age", "height", "kind=a", "kind=b", "kind=c", "flag"]
    assert found.notes["categories"] == {"kind": ["a", "b", "c"]}
    assert found.train.x[:4, 2:].tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert found.notes["mean"][2:] == [0] * 4
    assert found.notes["std"][2:] == [1] * 4


def test_other_rows_are_encoded_as_the_training_rows_were(here):
    frame = rows(kind=["b", "a"] * 20)
    found = table(**csv(frame), valid=0, test=0)
    assert torch.equal(encode(frame.iloc[[3]][["kind", "height", "age"]], found.notes), found.train.x[[3]])
    with refused("data.features", "'kind' holds 'z' in row 0; expected one of 'a', 'b'"):
        encode(rows(kind=["z"] * 40), found.notes)
    with refused("data.features", "no column 'kind'"):
        encode(rows(), found.notes)


def test_a_table_without_standardization_keeps_its_numbers(here):
    found = table(**csv(rows(), standardize=False, features=["age"]), valid=0, test=0)
    assert found.train.x.flatten().tolist() == list(range(40))
    assert (found.notes["mean"], found.notes["std"]) == ([0], [1])


@pytest.mark.parametrize(
    ("target", "task", "found_task", "classes"),
    [
        (["yes", "no"] * 20, None, "binary", ("no", "yes")),
        ([True, False] * 20, None, "binary", ("False", "True")),
        ([3, 1, 2, 2] * 10, "classification", "multiclass", ("1", "2", "3")),
        ([3, 1, 2, 2] * 10, None, "regression", ()),
        ([True, False] * 20, "regression", "regression", ()),
    ],
)
def test_the_target_decides_the_task(here, target, task, found_task, classes):
    found = table(**csv(rows(label=target), target="label", task=task))
    assert (found.task, found.classes) == (found_task, classes)
    assert found.train.y.dtype == (torch.int64 if classes else torch.float32)
    if classes:
        assert found.valid.y.bincount().tolist() == [3, 3] or found_task == "multiclass"


def test_the_row_numbers_that_pandas_writes_are_no_feature(here):
    rows().to_csv("file.csv")
    assert table("file.csv", "price").notes["features"] == ["age", "height"]


@pytest.mark.parametrize(
    ("frame", "arguments", "key", "words"),
    [
        (rows(), {"target": "prise"}, "data.target", ["no column 'prise'", "did you mean 'price'", "'age', 'height'"]),
        (rows(), {"target": None}, "data.target", ["missing", "data.target=price"]),
        (rows(), {"features": ["hight"]}, "data.features", ["no column 'hight'", "did you mean 'height'"]),
        (rows(), {"features": ["age", "price"]}, "data.features", ["holds the target 'price'"]),
        (rows(), {"features": []}, "data.features", ["nothing to predict 'price' from"]),
        (
            rows(gap=nan_at(np.ones(40), [1, 5]), hole=nan_at(np.ones(40), 7)),
            {},
            "data.features",
            [
                "'gap' in 2, 'hole' in 1 of 40 rows, first 'gap' in row 1",
                "fill them in, data.missing=median",
                "drop those rows, data.missing=drop",
                "dropna",
                "data.leave_out=[gap,hole]",
            ],
        ),
        (
            rows(price=nan_at(np.ones(40), 1)),
            {"missing": "median"},
            "data.target",
            ["'price' in 1 of 40 rows", "fill them in; or drop those rows, data.missing=drop"],
        ),
        (rows(far=nan_at(np.ones(40), 2, np.inf)), {}, "data.features", ["column 'far', row [2] is inf"]),
        (rows(price=nan_at(np.ones(40), 2, np.inf)), {}, "data.target", ["column 'price', row [2] is inf"]),
        (rows(), {"task": "classification"}, "data.target", ["column 'price'[1] is 2.5; expected whole"]),
        (rows(price=["a", "b"] * 20), {"task": "regression"}, "data.target", ["column 'price' holds text"]),
        (rows(price=["a"] * 40), {}, "data.target", ["one class only, 'a'"]),
        (rows(price=[1] * 39 + ["?"]), {}, "data.target", ["column 'price' holds numbers, but '?' in row 39"]),
        (rows(odd=["1.5"] * 38 + ["?", "-"]), {}, "data.features", ["holds numbers, but '?' in row 38 and 2 of 40"]),
        (rows(), {"valid": 2}, "data.valid", ["2 is not a fraction"]),
        (rows(0), {}, "data.path", ["'file.csv' has no rows"]),
        (
            rows(240, name=[f"n{i // 2}" for i in range(240)]),
            {},
            "data.features",
            ["column 'name' holds 120 different texts", "at most 100", "data.leave_out=[name]"],
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_named(here, frame, arguments, key, words):
    with refused(key, *words):
        table(**csv(frame, **arguments))


def test_files_that_are_no_tables_are_refused(here):
    Path("file.txt").write_text("a,b\n1,2\n")
    with refused("data.path", "'file.txt' ends in '.txt'; expected .csv or .parquet"):
        table("file.txt", "a")
    for name, content in {
        "a.csv": b"",
        "b.csv": b"a,b\n1,2\n1,2,3\n",
        "c.csv": b"a\n\xff\n",
        "d.parquet": b"x",
    }.items():
        Path(name).write_bytes(content)
        with refused("data.path", repr(name), "cannot be read as a table"):
            table(name, "a")
    Path("long.csv").write_text("a,b\n1,2,3\n1,2,3\n")
    with refused("data.path", "rows of 'long.csv' have more values than its first line has names"):
        table("long.csv", "a")
    Path("spaces.csv").write_text("a b\n1 2\n")
    with refused("data.target", "no column 'a'", "expected commas, semicolons or tabs between columns"):
        table("spaces.csv", "a")
    rows(when=pandas.Timestamp("2024-01-01")).to_parquet("when.parquet")
    with refused("data.features", "column 'when' holds datetime64", "expected numbers, true/false or text"):
        table("when.parquet", "price")
    with refused("data.path", "there is no 'fil.txt'", "did you mean 'file.txt'"):
        table("fil.txt", "a")
    with refused("data.path", "missing; give a .csv or .parquet file, e.g. data.path=file.csv"):
        table()


# ----------------------------------------------------------------------------------------------------------- images


def paint(file: Path, value: int = 0, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixel = value if mode in ("L", "P", "I;16") else (value, *[0] * (len(mode) - 1))
    Image.new(mode, size, pixel).save(file)


@pytest.fixture
def photos(here):
    for i in range(10):
        paint(here / "photos" / "cat" / f"{i}.png", i)
        paint(here / "photos" / "dog" / "deeper" / f"{i}.PNG", 100 + i)
    (here / "photos" / "cat" / "notes.txt").write_text("not an image")
    (here / "photos" / "cat" / "._0.png").write_text("what macOS puts into archives")
    (here / "photos" / ".hidden").mkdir()
    return here / "photos"


def test_images_are_read_by_class(photos):
    found = images("photos", valid=0.2, test=0.3)
    assert (found.task, found.classes) == ("binary", ("cat", "dog"))
    assert [len(s) for s in (found.train, found.valid, found.test)] == [10, 4, 6]
    assert isinstance(found.train, Tensors)
    assert found.train.x.shape == (10, 3, 4, 6)
    assert (found.train.x.dtype, found.train.y.dtype) == (torch.float32, torch.int64)
    for part in (found.train, found.valid, found.test):
        assert part.y.bincount().tolist() == [len(part) // 2] * 2
        assert torch.equal(part.y, (part.x[:, 0, 0, 0] * 255 >= 99.5).long())
        assert part.x[:, 1:].eq(0).all()
    assert same_data(found, images("photos", valid=0.2, test=0.3))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_on_disk_give_the_same_batches_as_in_memory(photos, workers):
    memory, disk = (images("photos", size=[3, 2], in_memory=where) for where in (True, False))
    assert not isinstance(disk.train, Tensors)
    arguments = {"shuffle": True, "seed": 1, "epoch": 2}
    assert same(batches(memory.train, 4, **arguments), batches(disk.train, 4, workers=workers, **arguments))
    assert same_data(memory, disk)


def test_more_images_than_fit_in_memory_stay_on_disk(photos, monkeypatch):
    monkeypatch.setattr("runner.data.images.IN_MEMORY", 20 * 4 * 3 * 4 * 6 - 1)
    assert not isinstance(images("photos").train, Tensors)
    monkeypatch.setattr("runner.data.images.IN_MEMORY", 20 * 4 * 3 * 4 * 6)
    assert isinstance(images("photos").train, Tensors)


@pytest.mark.parametrize("name", ["valid", "val"])
def test_folders_of_parts_are_used_instead_of_fractions(here, name):
    for part, n in (("train", 10), (name, 3)):
        for kind in ("cat", "dog", "eel"):
            for i in range(n):
                paint(here / "photos" / part / kind / f"{i}.png", i)
    found = images("photos", valid=0.9, test=0.1)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [27, 9, 3]
    assert (found.task, found.classes) == ("multiclass", ("cat", "dog", "eel"))
    paint(here / "photos" / "test" / "eel" / "0.png")
    found = images("photos")
    assert found.test.y.tolist() == [2]
    assert len(found.train) == 30


def test_train_may_be_the_name_of_a_class(here):
    for kind in ("car", "train"):
        paint(here / "photos" / kind / "0.png")
    assert images("photos", valid=0, test=0).classes == ("car", "train")


def test_images_are_resized_and_converted(here):
    paint(here / "photos" / "a" / "0.png", 51, (6, 4), "L")
    paint(here / "photos" / "a" / "1.png", 3, (9, 9), "P")
    paint(here / "photos" / "b" / "2.png", 51, (5, 5), "RGBA")
    paint(here / "photos" / "b" / "3.jpg", 51, (8, 8), "RGB")
    for channels in (1, 3, 4):
        found = images("photos", size=[2, 3], channels=channels, valid=0, test=0)
        assert found.train.x.shape == (4, channels, 2, 3)
        assert found.notes == {"size": [2, 3], "channels": channels, "divided_by": 255}
        assert found.train.x.min() >= 0
        assert found.train.x.max() <= 1
        assert torch.allclose(found.train.x[0, 0], torch.full((2, 3), 0.2))


def test_a_transparent_palette_is_read_without_a_warning(here):
    for kind in "ab":
        (here / "photos" / kind).mkdir(parents=True)
        image = Image.new("P", (4, 4), 1)
        image.putpalette([10, 20, 30, 255, 0, 0])
        image.save(here / "photos" / kind / "0.png", transparency=b"\x80\xff")
    assert images("photos", valid=0, test=0).train.x[0, :, 0, 0].tolist() == [1, 0, 0]


def test_image_folders_that_cannot_be_used_are_named(photos):
    with refused("data.path", "missing", "data.path=photos"):
        images()
    with refused("data.path", "there is no 'fotos'", "did you mean 'photos'"):
        images("fotos")
    with refused("data.path", "'photos/cat/0.png' is a file; expected a folder"):
        images("photos/cat/0.png")
    with refused("data.path", "'photos/cat' holds none; expected a folder of images for each of two"):
        images("photos/cat")
    with refused("data.path", "'photos/dog' holds only 'deeper'"):
        images("photos/dog")
    with refused("data.channels", "2 is not 1 (grey), 3 (colour) or 4"):
        images("photos", channels=2)
    for size in (0, [3], [3, -1], [1, 2, 3], [1.5, 2]):
        with refused("data.size", f"{size} is no size", "[height, width]"):
            images("photos", size=size)
    with refused("data.valid", "valid=0.9 and test=0.2"):
        images("photos", valid=0.9, test=0.2)
    paint(photos / "eel" / "0.png", size=(6, 5))
    with refused("data.size", "cat/0.png' is 6 wide and 4 high", "eel/0.png' is 6 wide and 5 high", "data.size=32"):
        images("photos")
    (photos / "eel" / "0.png").unlink()
    with refused("data.path", "'photos/eel' holds no image"):
        images("photos")


def test_images_that_cannot_be_read_are_named(photos):
    good = (photos / "cat" / "0.png").read_bytes()
    for content in (b"no image", good[:45], good[:40] + b"zzzz" + good[44:]):
        (photos / "cat" / "4.png").write_bytes(content)
        with refused("data.path", "'photos/cat/4.png' cannot be read as an image", "replace or remove it"):
            images("photos")
    paint(photos / "cat" / "4.png", 1000, mode="I;16")
    with refused("data.path", "'photos/cat/4.png' has more than 8 bits per channel"):
        images("photos")


def test_parts_with_other_folders_are_refused(here):
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            paint(here / "photos" / part / kind / "0.png")
    paint(here / "photos" / "test" / "catt" / "0.png")
    with refused("data.path", "'photos/test/catt' is none of the classes to train on", "did you mean 'cat'"):
        images("photos")
    for name in ("val", "valid"):
        paint(here / "photos" / name / "cat" / "0.png")
    with refused("data.path", "'photos' holds valid and val; expected one of them"):
        images("photos")
    paint(here / "photos" / "validation" / "cat" / "0.png")
    with refused("data.path", "'photos/validation' is beside train; expected valid, val or test", "mean 'valid'"):
        images("photos")


# ---------------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", SOURCES)
def test_a_preset_gives_the_arguments_their_defaults(name):
    preset = yaml.safe_load((Path(__file__).parents[2] / "conf" / "data" / f"{name}.yaml").read_text())
    if name in ("arrays", "images", "table"):
        with refused("data.path", "missing; give", "e.g. data.path="):
            components.data(preset)
    else:
        assert same_data(components.data(preset), data.find(name)())
