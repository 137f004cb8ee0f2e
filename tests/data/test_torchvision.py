"""Datasets of torchvision by their own names: the class's own parts, nothing fetched unasked, files known again."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from runner.data import Data, Tensors, _held, batches
from runner.settings.errors import ConfigError
from runner.training.parts import source
from tests.support.command import runner

datasets = pytest.importorskip("torchvision.datasets")
HOME = "torchvision.datasets"


def read(name: str, **arguments: Any) -> Data:
    return source.read(source.resolve({"name": f"{HOME}.{name}", **arguments}))


def idx(folder: Path, seed: int = 0) -> None:
    """Write files as those of FashionMNIST are, with 40 and 20 pictures of ten classes."""
    place = folder / "FashionMNIST" / "raw"
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (place / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + pixels.tobytes())
        (place / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())


def test_the_parts_are_those_of_the_class(tmp_path: Path) -> None:
    idx(tmp_path)
    data = read("FashionMNIST", root=str(tmp_path), valid=0.25)
    assert [len(data.train), len(data.valid), len(data.test)] == [30, 10, 20]
    assert data.classes[:2] == ("T-shirt/top", "Trouser")
    assert torch.bincount(data.valid.y, minlength=10).tolist() == [1] * 10  # every class alike
    plain = datasets.FashionMNIST(tmp_path, train=False)
    assert torch.equal(data.test.x[:, 0], plain.data.float() / 255)
    assert torch.equal(data.test.y, plain.targets)


def test_large_ones_are_read_as_needed_and_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx(tmp_path)
    held = read("FashionMNIST", root=str(tmp_path), valid=0.25)
    monkeypatch.setattr(_held, "MOST", 0)
    lazy = read("FashionMNIST", root=str(tmp_path), valid=0.25)
    assert isinstance(held.train, Tensors)
    assert not isinstance(lazy.train, Tensors)
    assert (lazy.classes, lazy.task) == (held.classes, held.task)
    for (x, y), (a, b) in zip(batches(held.train, 8), batches(lazy.train, 8, workers=1), strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


def test_a_class_without_parts_is_divided(tmp_path: Path) -> None:
    data = read("FakeData", size=40, image_size=[1, 8, 8], num_classes=3, valid=0.25, test=0.25)
    assert [len(data.train), len(data.valid), len(data.test)] == [20, 10, 10]
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (4, 4 + (i == 3)), (40 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
    data = read("ImageFolder", root=str(tmp_path), valid=0.25, test=0)
    assert (data.classes, data.task, data.test) == (("cat", "dog"), "binary", None)
    assert not isinstance(data.train, Tensors)  # of two sizes
    assert data.notes["files"]["count"] == 8


def test_folds_divide_what_is_not_for_the_test(tmp_path: Path) -> None:
    idx(tmp_path)
    parts = [read("FashionMNIST", root=str(tmp_path), folds=4, fold=fold) for fold in range(4)]
    assert sorted(torch.cat([one.places for one in parts]).tolist()) == list(range(40))
    assert all(len(one.test) == 20 for one in parts)


def test_what_is_missing_is_fetched_only_if_that_is_asked_for(tmp_path: Path, capfd: Any) -> None:
    root = str(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"data\.root: there is no FashionMNIST in '.*'; data\.download=true fetches"):
        read("FashionMNIST", root=root)
    assert not Path(root).exists()


def test_without_a_network_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def none(*words: Any, **named: Any) -> Any:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", none)
    with pytest.raises(ConfigError, match=r"data\.download: FashionMNIST could not be fetched .* is there a network"):
        read("FashionMNIST", root=str(tmp_path / "data"), download=True)
    out, err = capfd.readouterr()
    assert err.startswith("data: FashionMNIST is not in")
    assert not out


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [("FashionMNST", {}, "did you mean 'FashionMNIST'"), ("VisionDataset", {}, "is no dataset of pairs"),
     ("FashionMNIST", {}, "needs 'root'"), ("FashionMNIST", {"root": "d", "train": True}, "takes no argument 'train'"),
     ("ImageFolder", {"root": "nowhere"}, "data.root: there is no 'nowhere'"),
     ("FakeData", {"download": True}, "data.download: there is no such key"),
     ("FakeData", {"valid": 2.0}, "not a fraction")],
)  # fmt: skip
def test_wrong_uses(name: str, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read(name, **arguments)


def test_a_run_knows_its_files_again(tmp_path: Path) -> None:
    idx(tmp_path / "data")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "fashion.yaml").write_text(
        "data: {name: torchvision.datasets.FashionMNIST, root: data, valid: 0.25}\n"
        "model: {layers: [Flatten, {Linear: 10}]}\n"
        "loss: {name: CrossEntropyLoss}\ntrainer: {epochs: 2, batch_size: 10}\nplots: []\n"
    )
    done = runner("experiments=fashion", cwd=tmp_path)
    idx(tmp_path / "data", seed=1)
    other = runner("resume", done.run_id, "trainer.epochs=3", cwd=tmp_path, code=None)
    assert other.code
    assert "bring them back" in other.err
    assert "other contents" in runner("reproduce", done.run_id, cwd=tmp_path, code=None).out
