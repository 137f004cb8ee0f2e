"""Arrays that are mapped give the numbers that they give in memory, whoever reads them."""

from typing import Any

import numpy as np
import pytest
import torch

from runner.data import Data, Tensors, _mapped, batches
from runner.settings.errors import ConfigError
from runner.training.parts import source
from runner.training.state.fingerprint import fingerprint


def read(brief: bool = False, **arguments: Any) -> Data:
    return source.read(source.resolve({"name": "arrays", "x": "x.npy", "y": "y.npy", **arguments}), brief)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.normal(size=(60, 3, 4)))
    np.save("y.npy", np.arange(60) % 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_numbers_are_the_same(workers: int) -> None:
    held, mapped = read(), read(mmap=True)
    assert not isinstance(mapped.train, Tensors)
    assert (mapped.task, mapped.classes) == (held.task, held.classes)
    assert fingerprint(mapped) == fingerprint(held)
    for part in ("train", "valid", "test"):
        pairs = (getattr(data, part) for data in (held, mapped))
        both = [list(batches(one, 7, seed=3, shuffle=True, workers=workers)) for one in pairs]
        for (x, y), (a, b) in zip(*both, strict=True):
            assert torch.equal(x, a)
            assert torch.equal(y, b)


def test_whole_numbers_stay_whole_and_lists_become_columns() -> None:
    np.save("x.npy", np.arange(60, dtype=np.int32))
    assert torch.equal(read(mmap=True, indices=True).train[5][0], read(indices=True).train[5][0])
    assert fingerprint(read(mmap=True)) == fingerprint(read())


def test_another_number_is_another_fingerprint_with_parts_read_at_once(monkeypatch) -> None:
    monkeypatch.setattr(_mapped, "AT_ONCE", 100)
    before = fingerprint(read(mmap=True))
    assert before == fingerprint(read())
    x = np.load("x.npy")
    x[17] += 1
    np.save("x.npy", x)
    assert fingerprint(read(mmap=True)) != before


def test_a_large_file_is_mapped_unasked(monkeypatch) -> None:
    monkeypatch.setattr(_mapped, "ABOVE", 1000)
    assert not isinstance(read().train, Tensors)
    assert not isinstance(read(brief=True).train, Tensors)
    assert isinstance(read(mmap=False).train, Tensors)
    places = torch.cat([read(folds=3, fold=fold).places for fold in range(3)])
    assert len(places.unique()) == len(places)


def test_a_number_that_is_not_finite_is_refused_as_it_is_read() -> None:
    x = np.load("x.npy")
    x[9, 0, 0] = np.nan
    np.save("x.npy", x)
    with pytest.raises(ConfigError, match=r"example 9 .*not finite"):
        list(batches(read(mmap=True, valid=0, test=0).train, 1))


def test_what_cannot_be_mapped_is_refused() -> None:
    np.savez("xy.npz", x=np.load("x.npy"), y=np.load("y.npy"))
    with pytest.raises(ConfigError, match=r"data\.mmap: true, and an \.npz file"):
        read(x=None, y=None, path="xy.npz", mmap=True)
    with pytest.raises(ConfigError, match=r"data\.mmap: true, and x is several files"):
        read(x={"a": "x.npy"}, mmap=True)
