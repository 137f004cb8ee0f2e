"""What the checks read of data, and what is kept of it for the next job."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner.cli import sweep_check
from runner.data import Data, Tensors
from runner.data import _numpy as numpy_files
from runner.settings.errors import ConfigError
from runner.training.checking import checks
from runner.training.parts import data_cache
from runner.training.prepare import prepare
from tests.conftest import settings
from tests.support import components, composing


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data_cache, "_cache", {})
    x, y = np.arange(4000, dtype=np.float32).reshape(200, 4, 5), np.arange(200) % 3
    np.save("x.npy", x)
    np.save("y.npy", y)
    np.savez("xy.npz", x=x, y=y, x_test=x[:9], y_test=y[:9])
    return tmp_path


def arrays(brief: bool = False, **arguments: Any) -> Data:
    return components.data({"name": "arrays", **arguments}, brief=brief)


def parts(data: Data) -> list[tuple[torch.Size, torch.dtype, list[Any]]]:
    found = [part for part in (data.train, data.valid, data.test) if isinstance(part, Tensors)]
    return [(part.x.shape, part.x.dtype, part.y.tolist()) for part in found]


FILES: list[dict[str, Any]] = [{"path": "xy.npz"}, {"x": "x.npy", "y": "y.npy"}]


@pytest.mark.parametrize("files", FILES)
def test_a_brief_look_at_arrays_sees_all_but_the_inputs(files: dict[str, Any]) -> None:
    brief, whole = arrays(brief=True, **files), arrays(**files)
    assert parts(brief) == parts(whole)
    assert (brief.task, brief.classes) == (whole.task, whole.classes)
    assert isinstance(brief.train, Tensors)
    assert brief.train.x.is_meta


def test_a_plain_list_of_indices_becomes_a_column_in_brief_too() -> None:
    told = {"x": "y.npy", "y": "y.npy", "indices": True}
    assert parts(arrays(brief=True, **told)) == parts(arrays(**told))


def test_the_inputs_are_not_read_in_brief(here: Path) -> None:
    """What stands behind the header of x is gone, so that whoever reads it fails."""
    whole = (here / "x.npy").read_bytes()
    (here / "x.npy").write_bytes(whole[:128])
    assert len(parts(arrays(brief=True, x="x.npy", y="y.npy"))) == 3
    with pytest.raises(ConfigError, match=r"data.x: .*'x.npy' cannot be read"):
        arrays(x="x.npy", y="y.npy")


def test_the_inputs_of_an_archive_are_not_read_in_brief(here: Path) -> None:
    held = bytearray((here / "xy.npz").read_bytes())
    held[1000] ^= 1  # within x, whose CRC is wrong from here on
    (here / "xy.npz").write_bytes(held)
    assert len(parts(arrays(brief=True, path="xy.npz"))) == 3
    with pytest.raises(ConfigError, match=r"x in 'xy.npz' cannot be read"):
        arrays(path="xy.npz")


def test_indices_beyond_the_rows_are_refused_by_a_brief_look_too() -> None:
    np.save("x.npy", np.arange(200))
    told = settings(
        layers=[{"Embedding": {"num_embeddings": 100, "embedding_dim": 2}}, "Flatten", {"Linear": 3}],
        data={"name": "arrays", "x": "x.npy", "y": "y.npy", "indices": True},
        loss={"name": "CrossEntropyLoss"},
    )
    for look in (lambda: checks.check(told), lambda: prepare(told, "test")):
        with pytest.raises(ConfigError, match=r"num_embeddings: 100 rows take indices from 0 to 99"):
            look()


def test_an_archive_larger_than_memory_is_refused_with_the_numbers(here: Path) -> None:
    with zipfile.ZipFile("xy.npz", "w") as archive:
        for name in ("x", "y"):
            with archive.open(f"{name}.npy", "w") as file:
                header = {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
                np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ConfigError, match=r"data.path: . in 'xy.npz' takes 800 TB, and there are"):
        arrays(brief=True, path="xy.npz")


# Kept


def test_what_was_read_is_read_once_and_handed_out_as_copies(monkeypatch: Any) -> None:
    first, opened = arrays(path="xy.npz"), []
    monkeypatch.setattr(numpy_files, "_open", lambda *_: opened.append(1))
    again = arrays(path="xy.npz")
    assert parts(first) == parts(again)
    assert not opened
    assert isinstance(first.train, Tensors)
    first.train.x.zero_()
    first.notes["a"] = 1
    third = arrays(path="xy.npz")
    assert isinstance(third.train, Tensors)
    assert third.train.x.any()
    assert not third.notes


def test_a_file_that_has_changed_is_read_anew() -> None:
    before = arrays(x="x.npy", y="y.npy")
    np.save("y.npy", np.arange(200) % 5)
    assert (len(before.classes), len(arrays(x="x.npy", y="y.npy").classes)) == (3, 5)


def test_other_arguments_are_read_anew() -> None:
    assert len(arrays(path="xy.npz", valid=0.5).train) != len(arrays(path="xy.npz", valid=0.1).train)  # type: ignore[arg-type]


def test_no_more_than_three_are_kept(monkeypatch: Any) -> None:
    for valid in (0.1, 0.2, 0.3, 0.4):
        arrays(path="xy.npz", valid=valid)
    assert len(data_cache._cache) == data_cache.SETS
    monkeypatch.setattr(data_cache, "MOST", 10)
    monkeypatch.setattr(data_cache, "_cache", {})
    arrays(path="xy.npz")
    assert not data_cache._cache


def test_a_users_source_is_called_every_time(experiments: Path) -> None:
    (experiments / "mine.py").write_text(
        "import torch\nfrom runner.data import Data, Tensors\ncalls = []\n"
        "def load():\n    calls.append(1)\n    return Data(Tensors(torch.zeros(4, 1), torch.zeros(4, 1)))\n"
    )
    for _ in range(2):
        components.data({"name": "experiments.mine.load"})
    assert len(sys.modules["experiments.mine"].calls) == 2
    assert not data_cache._cache


def test_the_jobs_of_a_sweep_read_their_data_once(monkeypatch: Any) -> None:
    """Of a table, whose shape depends on all its rows, as much as of anything else."""
    Path("t.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50)))
    from runner.data import table

    reads: list[Any] = []
    read = table.read  # type: ignore[attr-defined]
    counted = lambda *given, **more: reads.append(1) or read(*given, **more)  # noqa: E731
    monkeypatch.setattr(sys.modules["runner.data.table"], "read", counted)
    words = ["data=table", "data.path=t.csv", "data.target=b"]
    with composing.hydra():
        jobs = [[*words, f"seed={seed}"] for seed in range(5)]
        assert len(sweep_check.check(jobs, lambda number, job: composing.config(job))) == len(jobs)
    assert len(reads) == 1
