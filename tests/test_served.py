"""served = loaded = predicted: the MLflow model, `runner.load` and `runner predict` give one model's outputs."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import runner as package
from runner import build, logged_model, recall
from runner.context import Context
from runner.prepare import prepare
from runner.settings import Settings, made
from runner.signals import Signals
from tests.command import Done, runner
from tests.sweeping import families
from tests.test_cli import artifacts

#: An exported program may sum in another order than the layers do.
NEAR: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}


def client(place: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place}/mlflow.db")


def served(place: Path, run_id: str) -> Any:
    """The MLflow model of a run, as `mlflow.pyfunc` serves it."""
    import mlflow

    uri, before = client(place).get_run(run_id).data.tags["runner.logged_model"], mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    try:
        with logged_model.quiet():  # MLflow warns of itself when it is imported
            return mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(before)


def loaded(place: Path, run_id: str, x: np.ndarray[Any, Any], **kwargs: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return package.load(run_id, f"sqlite:///{place}/mlflow.db", **kwargs)(torch.from_numpy(x)).numpy()


def predicted(place: Path, run_id: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    np.save(place / "in.npy", x)
    runner("predict", run_id, "inputs=in.npy", "output=out.npy", "overwrite=true", cwd=place)
    return np.load(place / "out.npy")


def three(place: Path, run_id: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Outputs of the model that is loaded, of which the other two are no other."""
    found = loaded(place, run_id, x)
    np.testing.assert_array_equal(predicted(place, run_id, x), found)
    model = served(place, run_id)
    for size in (len(x), 2, 1):
        np.testing.assert_allclose(model.predict(x[:size]), found[:size], **NEAR)
    return found


def test_diabetes_is_served_as_a_plain_torch_model_of_the_raw_table(workplace: Path) -> None:
    """The issue's case: 151, which was served as 1166 by weights that see columns on another scale."""
    from sklearn.datasets import load_diabetes

    words = "experiments=diabetes tracking.log_model=true plots=[] trainer.epochs=30 optimizer=adam optimizer.lr=10"
    run_id = runner(*words.split(), cwd=workplace).run_id
    run = client(workplace).get_run(run_id)
    notes = json.loads((artifacts(run) / "data.json").read_text())["notes"]
    raw = load_diabetes(scaled=False).data[:20]
    state = recall.weights(f"sqlite:///{workplace}/mlflow.db", run_id, "best")
    x = torch.from_numpy((raw - np.array(notes["mean"])) / np.array(notes["std"])).float()
    truth = (x @ state["0.weight"].T + state["0.bias"]).numpy()
    assert 0 < truth.min() and truth.max() < 500
    np.testing.assert_allclose(three(workplace, run_id, raw), truth, rtol=1e-5)
    last = loaded(workplace, run_id, raw, checkpoint="last")
    assert not np.allclose(last, truth, rtol=1e-4), "the best and the last model are to be told apart here"
    model = served(workplace, run_id)
    [spec] = model.metadata.signature.inputs.inputs
    assert (str(spec.type), spec.shape) == ("float64", (-1, 10))
    noted = model.metadata.metadata
    assert (noted["run"], noted["checkpoint"]) == (run_id, "best")
    assert noted["step"] == int(run.data.tags["checkpoint.best.step"]) != int(run.data.tags["checkpoint.last.step"])
    assert noted["notes"] == notes
    assert run.data.tags["runner.logged_model.checkpoint"] == f"best, step {noted['step']}"
    import pandas as pd

    frame = pd.DataFrame(raw, columns=notes["features"])
    with logged_model.quiet():
        np.testing.assert_allclose(np.asarray(model.predict(frame)), truth, rtol=1e-5)
