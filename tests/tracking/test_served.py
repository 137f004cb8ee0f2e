"""served = loaded = predicted: the MLflow model, `runner.load` and `runner predict` give one model's outputs."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient

import runner as package
from runner.settings import Trainer
from runner.settings.context import Context
from runner.tracking import screen
from runner.tracking.read import checkpoints, logged_model, recall
from runner.tracking.session import record
from runner.training.machine.signals import Signals
from runner.training.prepare import prepare
from tests.cli.test_cli import artifacts
from tests.support import components, composing
from tests.support.command import runner
from tests.support.experiments import here

#: An exported program may sum in another order than the layers do.
NEAR: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}
#: The checkpoint of predictions.npy.
PREDICTS = Trainer.test_checkpoint


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


def test_a_model_is_served_on_a_machine_with_a_gpu(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow looks for the tensors of an exported program on a GPU if there is one."""
    words = "experiments=linear_regression tracking.log_model=true plots=[] trainer.epochs=3"
    run_id = runner(*words.split(), cwd=workplace).run_id
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    three(workplace, run_id, np.linspace(-1, 1, 5, dtype=np.float32)[:, None])


def test_diabetes_is_served_as_a_plain_torch_model_of_the_raw_table(workplace: Path) -> None:
    """The issue's case: 151, which was served as 1166 by weights that see columns on another scale."""
    from sklearn.datasets import load_diabetes

    words = "experiments=diabetes tracking.log_model=true plots=[] trainer.epochs=30 optimizer=adam optimizer.lr=10"
    run_id = runner(*words.split(), cwd=workplace).run_id
    run = client(workplace).get_run(run_id)
    notes = json.loads((artifacts(run) / "data.json").read_text())["notes"]
    raw = load_diabetes(scaled=False).data[:20]
    state = checkpoints.weights(f"sqlite:///{workplace}/mlflow.db", run_id, "best")
    x = torch.from_numpy((raw - np.array(notes["mean"])) / np.array(notes["std"])).float()
    truth = (x @ state["0.weight"].T + state["0.bias"]).numpy()
    assert truth.min() > 0
    assert truth.max() < 500
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


TRAINED = [path.stem for path in here() if "epochs: 0" not in path.read_text()]
MINE = """
import random

import numpy as np
import torch
from torch import nn

from runner.data import Data, Tensors


class Drawn(nn.Module):
    # What it has drawn is no parameter and no buffer.
    def __init__(self):
        super().__init__()
        self.by = [random.random(), float(np.random.rand()), float(torch.rand((), device="cpu"))]

    def forward(self, x):
        return x * self.by[0] + self.by[1] * self.by[2]


def words(**further) -> Data:
    x = torch.randint(0, 12, (40, 5), generator=torch.Generator().manual_seed(0))
    return Data(Tensors(x, x.float().mean(1, keepdim=True)), valid=Tensors(x[:9], x[:9].float().mean(1, keepdim=True)))


def alone(**further) -> Data:
    return Data(Tensors(torch.ones(1, 3), torch.ones(1, 1)))


def columns(**further) -> Data:
    # Standardized by a source of one's own.
    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30 + 500
    mean, std = rows.mean(0), rows.std(0)
    x, y = ((rows - mean) / std).float(), rows.sum(1, keepdim=True).float() / 100
    return Data(Tensors(x[20:], y[20:]), Tensors(x[:20], y[:20]), notes={"mean": mean.tolist(), "std": std.tolist()})


def series(**further) -> Data:
    x = torch.randn(40, 7, 3, generator=torch.Generator().manual_seed(0))
    return Data(Tensors(x, x.sum((1, 2)).unsqueeze(1)), valid=Tensors(x[:9], x[:9].sum((1, 2)).unsqueeze(1)))
"""


def small(source: str, layers: str, *words: str) -> str:
    """A regression on data of experiments/served.py."""
    usual = "loss=mse optimizer=adam trainer.threads=1 plots=[] metrics=[]"
    return " ".join([f"data.name=experiments.served.{source}", usual, f"model.layers=[{layers}]", *words])


ENCODER = "{TransformerEncoderLayer:{d_model:3,nhead:1,dim_feedforward:4,batch_first:true}}"
KINDS = {
    **{name: f"experiments={name} trainer.epochs=2 trainer.threads=1 plots=[]" for name in TRAINED},
    "fp64": small("columns", "{Linear:3},Tanh,{Linear:1}", "trainer.precision=fp64"),
    "bf16": small("columns", "{Linear:3},Tanh,{Linear:1}", "trainer.precision=bf16"),
    "embedding": small("words", "{Embedding:{num_embeddings:12,embedding_dim:4}},Flatten,{Linear:1}"),
    "one example": small("alone", "{Linear:1}"),
    "drawn by a layer": small("columns", "experiments.served.Drawn,{Linear:1}", "seed=7"),
    "in place": small("columns", "{ReLU:{inplace:true}},{Linear:1}"),
    "batch norm and dropout": small(
        "columns", "{Linear:4},BatchNorm1d,{Dropout:0.5},{Linear:1}", "trainer.batch_size=8"
    ),
    "attention": small("series", f"{ENCODER},Flatten,{{Linear:1}}", "trainer.epochs=2"),
    "compiled": small("columns", "{Linear:3},{Linear:1}", "trainer.compile=eager"),
}


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with code of one's own, in which this process trains: MLflow takes long to get ready."""
    import os
    import shutil
    import sys

    place, before = tmp_path_factory.mktemp("served"), Path.cwd()
    shutil.copy(empty_store, place / "mlflow.db")
    (place / "experiments").mkdir()
    (place / "experiments" / "served.py").write_text(MINE)
    os.chdir(place)
    try:
        with composing.hydra():
            yield place
    finally:
        os.chdir(before)
        sys.modules.pop("experiments.served", None)
        package = sys.modules["experiments"]
        package.__path__ = [path for path in package.__path__ if path != str(place / "experiments")]


def trained(place: Path, *words: str) -> str:
    """The id of a run that is trained in this process."""
    settings = composing.settings(*words, f"tracking.uri=sqlite:///{place}/mlflow.db", "tracking.log_model=true")
    run, ids = prepare(settings, "served"), list[str]()
    try:
        context = Context("served", yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False))
        record(run, context, screen.quiet(), Signals(), begun=ids.append)
    finally:
        run.close()
    return ids[0]


def raw_rows(place: Path, run_id: str, part: str = "valid") -> np.ndarray[Any, Any]:
    """The inputs of a part of the run's data as they were before standardization."""
    uri = f"sqlite:///{place}/mlflow.db"
    data, notes = components.data(recall.settings(uri, run_id).data), recall.data(uri, run_id)["notes"]
    source = getattr(data, part) or data.train
    x = torch.stack([source[i][0] for i in range(len(source))])
    if "mean" not in notes:
        return x.double().numpy() if recall.settings(uri, run_id).trainer.precision == "fp64" else x.numpy()
    return (x.double() * torch.tensor(notes["std"]).double() + torch.tensor(notes["mean"]).double()).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_served_is_loaded_is_what_the_run_has_predicted(place: Path, kind: str) -> None:
    words = KINDS[kind].split()
    epochs = [] if any(word.startswith("trainer.epochs") for word in words) else ["trainer.epochs=5"]
    problem = composing.problem(*words, "tracking.log_model=true")
    if problem.startswith("tracking.log_model: MLflow serves"):
        pytest.skip(problem)
    run_id = trained(place, *words, *epochs)
    x = raw_rows(place, run_id)
    found, model = loaded(place, run_id, x), served(place, run_id)
    for size in (len(x), 2, 1):
        with logged_model.quiet():
            np.testing.assert_allclose(model.predict(x[:size]), found[:size], **NEAR)
    [spec] = model.metadata.signature.inputs.inputs
    assert (spec.type, spec.shape) == (x.dtype, (-1, *x.shape[1:]))
    kept = np.load(artifacts(client(place).get_run(run_id)) / "predictions.npy")
    # bf16 has 8 bits: what is served and loaded works with all 24 of the weights.
    near = {"rtol": 0.05, "atol": 0.05} if kind == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(loaded(place, run_id, x, checkpoint=PREDICTS), kept, **near)
