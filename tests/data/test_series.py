"""A series becomes windows and what comes after each; nothing of the future is in the past."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from runner.data import _inputs
from runner.data.series import again, series
from runner.settings.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> str:
    frame = pandas.DataFrame({"day": range(100), "sales": np.arange(100) * 2.0, "rain": np.arange(100) % 7})
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "s.csv", index=False)
    return str(tmp_path / "s.csv")


def read(path: str, **more: object):
    return series(path, "sales", time="day", window=6, horizon=2, **more)


def test_windows_are_sorted_by_time_and_stay_within_their_part(path: str) -> None:
    data = read(path)
    mean, std = (np.asarray(data.notes[name]) for name in ("mean", "std"))
    seen = []
    for part in (data.train, data.valid, data.test):
        rows = part.x.double().numpy() * std + mean
        assert np.allclose(rows[:, -1, 0] + 2, part.y[:, 0])  # the sales of the next day, and of the day after it
        assert np.allclose(rows[:, -1, 0] + 4, part.y[:, 1])
        seen.append((abs(round(rows[:, :, 0].min(), 3)), float(part.y.max())))
    assert seen == [(0.0, 138.0), (140.0, 168.0), (170.0, 198.0)]  # 70 days, 15 and 15: no window crosses


def test_the_scale_is_that_of_the_training_part(path: str) -> None:
    data = read(path)
    assert data.notes["mean"][0] == pytest.approx(69.0)
    assert data.notes["targets"] == ["sales+1", "sales+2"]


def test_another_series_is_read_as_that_of_the_run(path: str) -> None:
    data = read(path, step=3)
    noted = {"task": data.task, "classes": [], "notes": data.notes, "example": {"shape": [6, 2], "dtype": "float32"}}
    other = again(noted, path=path, target="sales", step=3)
    assert torch.equal(other.train.x, data.train.x)
    assert torch.equal(other.test.y, data.test.y)
    inputs = _inputs.read(path, noted)
    assert inputs.names[-1] == "99"  # what comes after the last row is predicted, too
    assert torch.cat(list(inputs.batches)).shape == (95, 6, 2)


def test_the_same_time_twice_is_refused(path: str) -> None:
    pandas.concat([pandas.read_csv(path)] * 2).to_csv(path, index=False)
    with pytest.raises(ConfigError, match="same time twice"):
        read(path)


def test_folds_of_a_series_are_refused(path: str) -> None:
    from runner.data._folds import Fold

    with pytest.raises(ConfigError, match=r"data\.folds: 5 cannot be had"):
        read(path, valid=Fold(5, 0))
