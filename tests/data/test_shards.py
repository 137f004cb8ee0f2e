"""Shards: the examples of .tar files, by their places, with any number of workers."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from runner.data import Data, Tensors, _held, batches
from runner.settings.errors import ConfigError
from runner.training.parts import source


def write(shard: Path, examples: dict[str, dict[str, bytes]]) -> None:
    with tarfile.open(shard, "w") as archive:
        for name, members in examples.items():
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def picture(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (3, 2), grey).save(file, "png")
    return file.getvalue()


def array(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, dtype=np.float32))
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for shard in range(2):
        numbers = range(10 * shard, 10 * shard + 10)
        members = {
            f"a/{n:04}": {"png": picture(10 * n), "npy": array([n, 1]), "cls": b"%d\n" % (n % 2)} for n in numbers
        }
        write(tmp_path / f"train-{shard:03}.tar", members)
    return tmp_path


def read(**arguments: Any) -> Data:
    return source.read(source.resolve({"name": "shards", **arguments}))


@pytest.mark.parametrize("path", ["train-{000..001}.tar", "train-*.tar", ".", ["train-000.tar", "train-001.tar"]])
def test_examples_are_those_of_all_shards_in_their_order(folder: Path, path: Any) -> None:
    data = read(path=path, valid=0, test=0)
    assert (data.task, data.classes, set(data.train.x)) == ("binary", ("0", "1"), {"png", "npy"})
    assert data.train.x["npy"][:, 0].tolist() == list(range(20))
    assert data.train.x["png"][:, 0, 0, 0].mul(25.5).round().tolist() == list(range(20))
    assert data.train.y.tolist() == [0, 1] * 10
    assert data.notes["files"]["count"] == 2


def test_read_as_needed_with_workers_the_numbers_are_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"path": "train-{000..001}.tar", "inputs": "npy", "length": 18}
    held = read(**options)
    monkeypatch.setattr(_held, "MOST", 0)
    lazy = read(**options)
    assert isinstance(held.train, Tensors)
    assert not isinstance(lazy.train, Tensors)
    shuffled = {"shuffle": True, "epoch": 1}
    for (x, y), (a, b) in zip(
        batches(held.train, 4, **shuffled), batches(lazy.train, 4, workers=2, **shuffled), strict=True
    ):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


def test_words_are_classes_and_other_shards_are_parts(folder: Path) -> None:
    write(folder / "one.tar", {"a": {"txt": b"cat", "npy": array([1])}, "b": {"txt": b"dog", "npy": array([2])}})
    write(folder / "two.tar", {"c": {"txt": b"dog", "npy": array([3])}})
    data = read(path="one.tar", valid_path="two.tar", test=0, target="txt")
    assert (data.classes, data.train.y.tolist(), data.valid.y.tolist()) == (("cat", "dog"), [0, 1], [1])


@pytest.mark.parametrize(
    ("members", "arguments", "problem"),
    [({"npy": b"", "cls": b"1"}, {}, "cannot be read"), ({"pkl": b"", "cls": b"1"}, {}, "may run code"),
     ({"npy": array([1]), "label": b"1"}, {}, "no member .cls"), ({"cls": b"1"}, {}, "leaves nothing"),
     ({"npy": array([1]), "cls": b"3"}, {"classes": ["a", "b"]}, "the class 3"),
     ({"npy": array([1]), "cls": b"3"}, {"length": 9}, "more than the 2 examples")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(folder: Path, members: Any, arguments: Any, problem: str) -> None:
    write(folder / "one.tar", {"a": members, "b": members})
    with pytest.raises(ConfigError, match=problem):
        read(path="one.tar", valid=0, test=0, **arguments)


def test_a_compressed_and_a_cut_shard_are_refused(folder: Path) -> None:
    with tarfile.open(folder / "packed.tar.gz", "w:gz"):
        pass
    with pytest.raises(ConfigError, match="unpack it"):
        read(path="packed.tar.gz")
    whole = (folder / "train-000.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ConfigError, match="cut off"):
        read(path="cut.tar")
