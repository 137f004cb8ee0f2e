"""A sweep over `data.fold` gives means and spreads, names no fold the best, and puts all predictions into one file."""

import csv
import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from runner.data.digits import digits
from runner.sweeps.report import repeats
from runner.sweeps.report.table import Row, Table
from tests.support.command import runner

SWEEP = [
    "-m", "data=digits", "data.folds=3", "data.fold=range(3)", "loss=cross_entropy", "optimizer=adam",
    "optimizer.lr=0.003,0.01", "model.layers=[Flatten,{Linear:10}]", "trainer.epochs=1", "trainer.batch_size=64",
]  # fmt: skip


def table(values: dict[tuple[str, str], float | None], mode: str = "min") -> Table:
    rows = [
        Row(i, {"data.fold": fold, "optimizer.lr": lr}, str(i), "FAILED" if value is None else "FINISHED", value)
        for i, ((lr, fold), value) in enumerate(values.items())
    ]
    return Table(rows, mode=mode)


def test_the_best_combination_is_that_of_the_best_mean() -> None:
    found = table({("1", "0"): 0.1, ("1", "1"): 0.9, ("2", "0"): 0.4, ("2", "1"): 0.5})
    assert found.best is None
    best = found.best_combination
    assert best is not None
    assert best.overrides == {"optimizer.lr": "2"}
    assert repeats.result("s", "FINISHED", found).split()[3:] == [
        "folds=2",
        f"mean={statistics.fmean([0.4, 0.5])!r}",
        f"spread={statistics.stdev([0.4, 0.5])!r}",
        "optimizer.lr=2",
    ]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_combination_without_a_fold_is_not_compared(missing: float | None) -> None:
    found = table({("1", "0"): 0.1, ("1", "1"): missing, ("2", "0"): 0.4, ("2", "1"): 0.5})
    best = found.best_combination
    assert best is not None
    assert best.overrides == {"optimizer.lr": "2"}
    assert [one.left_out for one in found.combinations] == [
        "",
        "data.fold=1 " + ("FAILED" if missing is None else "has no finite value"),
    ]


def test_predictions_of_all_folds_are_one_file(workplace: Path) -> None:
    done = runner(*SWEEP, "hydra/launcher=vectorized", cwd=workplace)
    words = done.last.split()
    assert words[2:4] == ["FINISHED", "folds=3"]
    assert "best" not in done.last
    parent = MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_run(words[1])
    place = Path(parent.info.artifact_uri.removeprefix("file://"))
    [first, second] = csv.DictReader((place / "folds.csv").read_text().splitlines())
    assert first["optimizer.lr"] == words[-1].partition("=")[2]
    assert float(first["valid/loss.mean"]) <= float(second["valid/loss.mean"])
    assert parent.data.metrics["valid/loss.mean"] == float(first["valid/loss.mean"])
    whole = digits(valid=0, test=0)
    index, outputs = np.load(place / "oof_indices.npy"), np.load(place / "oof_predictions.npy")
    parts = digits()
    assert len(index) == len(np.unique(index)) == len(parts.train) + len(parts.valid)
    loss = (-outputs[np.arange(len(index)), whole.train.y[index]] + np.log(np.exp(outputs).sum(1))).mean()
    assert loss == pytest.approx(float(first["valid/loss.mean"]), rel=0.01)  # folds differ by an example


def test_folds_of_other_processes_are_those_of_this_one(tmp_path: Path, empty_store: Path) -> None:
    """As joblib's launcher trains them: the same means, spreads and predictions, to the last bit."""
    found = []
    for name, words in {"here": [], "there": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}.items():
        place = tmp_path / name
        place.mkdir()
        shutil.copy(empty_store, place / "mlflow.db")
        done = runner(*SWEEP, "optimizer.lr=0.01", "trainer.threads=1", *words, cwd=place)
        [parent] = place.glob(f"mlruns/*/{done.last.split()[1]}/artifacts")
        files = ["folds.csv", "oof_indices.npy", "oof_predictions.npy"]
        found.append((done.last.split()[2:], *((parent / file).read_bytes() for file in files)))
    assert found[0] == found[1]
    assert found[0][0][:2] == ["FINISHED", "folds=3"]
