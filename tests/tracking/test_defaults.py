"""Overrides of a resumed run whose keys the recorded configuration left to torch's, or runner's, defaults."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from runner.tracking.read import drift
from tests.conftest import Start
from tests.support.command import runner

STUDY = """
data: {name: line, points: 64, valid: 20}
model: {layers: [{Linear: 4}, {Linear: 1}]}
loss: {name: MSELoss}
optimizer: {name: Adam}
scheduler: {name: StepLR, step_size: 1}
trainer: {epochs: 2, batch_size: 16, threads: 1}
checkpoint: {every: 1}
plots: []
device: cpu
"""


@pytest.fixture(scope="module")
def recorded(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs in which all that can be is left to its default."""
    folder = tmp_path_factory.mktemp("defaults")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "plain.yaml").write_text(STUDY)
    runner("experiments=plain", cwd=folder)
    return folder


def rates(place: Path) -> dict[int, float]:
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    [run] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, "lr")}


def test_optimizer_and_scheduler_take_what_was_left_to_a_default(recorded: Path) -> None:
    """One resumption with a value for each: the rate goes on from where its schedule had brought the default."""
    given = ["lr=0.4", "betas=[0.8,0.9]", "eps=1e-6", "weight_decay=0.1", "amsgrad=true", "maximize=false"]
    words = [f"optimizer.{word}" for word in given]
    runner("resume", "last", *words, "scheduler.gamma=0.5", "trainer.epochs=4", cwd=recorded)
    found = rates(recorded)
    assert [found[step] for step in (4, 8)] == pytest.approx([0.001, 0.0001])
    assert [found[step] for step in (12, 16)] == pytest.approx([0.1, 0.05])


WRONG = {
    "loss.reduction=sum": "loss.reduction: a run cannot be continued with another",
    "data.noise=0.5": "data.noise: a run cannot be continued with another",
    "data.nothing=1": "data.nothing",
    "optimizer.lr=null": "optimizer.lr: None",
    "optimizer.nothing=1": "optimizer.nothing: Adam takes no argument",
    "optimizer.lr=fast": "optimizer.lr: 'fast' is not a number",
    "optimizer=null": "optimizer",
    "optimizer=3": "optimizer",
    "~optimizer.lr": "optimizer.lr",
    "scheduler=null": "scheduler",
    "scheduler.interval=step": "scheduler.interval",
    "loss=null": "loss",
    "data=null": "data",
    "metrics=[Accuracy]": "metrics",
    "model.knobs.width=3": "model.knobs",
    "optimizer.lr.x=3": "optimizer.lr",
    "optimizer.lr=[0.1]": "optimizer.lr",
    "optimizer.betas=0.9": "optimizer.betas",
    "+optimizer.lr=abc": "optimizer.lr",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_be_taken_is_refused_by_its_key(word: str, recorded: Path) -> None:
    done = runner("resume", "last", "trainer.epochs=6", word, cwd=recorded, code=2)
    assert WRONG[word] in done.err
    assert "Traceback" not in done.err


FURTHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "Adam"}, {"amsgrad": True}),
    ({"name": "NAdam"}, {"momentum_decay": 0.1}),
    ({"name": "RMSprop"}, {"centered": True, "momentum": 0.9}),
    ({"name": "SGD"}, {"momentum": 0.9, "nesterov": True}),
]


@pytest.mark.parametrize(("spec", "change"), FURTHER)
def test_an_average_that_was_not_kept_begins_with_nothing(
    spec: dict[str, Any], change: dict[str, Any], start: Start
) -> None:
    run = start(optimizer=spec)
    optimizer, parameters = run.state.optimizer, list(run.model.parameters())
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        if change:
            drift.apply(run, {f"optimizer.{key}": (spec.get(key), new) for key, new in change.items()}, run.steps)
    assert all(optimizer.param_groups[0][key] == value for key, value in change.items())
