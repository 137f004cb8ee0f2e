"""A training that starts from a recorded run: record, reproduce, resume, sweeps, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

import runner as package
from tests.support.command import runner

STUDY = """# @package _global_
model: {{layers: {{a: {{Linear: 4}}, act: ReLU, b: {{Linear: 1}}}}{more}}}
trainer: {{epochs: 3, batch_size: 32}}
plots: []
"""


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a recorded run, its id, and studies that start from it."""
    folder = tmp_path_factory.mktemp("start")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "first.yaml").write_text(STUDY.format(more=""))
    (folder / "experiments" / "second.yaml").write_text(STUDY.format(more=", start: {run: last, layers: [a]}"))
    return folder, runner("experiments=first", cwd=folder).run_id


def test_a_run_starts_from_anothers_weights_and_reproduces_when_last_is_another(place: tuple[Path, str]):
    folder, first = place
    second = runner("experiments=second", "seed=5", "trainer.epochs=1", "optimizer.lr=1e-30", cwd=folder).run_id
    uri = f"sqlite:///{folder}/mlflow.db"
    one, other = package.load(first, uri), package.load(second, uri)
    assert torch.equal(one.a.weight, other.a.weight)
    assert not torch.equal(one.b.weight, other.b.weight)
    tags = MlflowClient(uri).get_run(second).data.tags
    assert (tags["start.run"], tags["start.checkpoint"]) == (first, "best")
    assert "identical" in runner("reproduce", second, cwd=folder).last  # last is `second` now
    words = ("-m", "experiments=second", f"model.start.run={first},{second}", "hydra/launcher=vectorized")
    assert "FINISHED" in runner(*words, cwd=folder).last
    client = MlflowClient(uri)
    shutil.rmtree(client.get_run(first).info.artifact_uri.removeprefix("file://"))
    assert "kept no" in runner("reproduce", second, cwd=folder, code=2).err
    longer = runner("resume", second, "trainer.epochs=2", cwd=folder)  # which does not need it any more
    assert "FINISHED" in longer.last


def test_last_in_a_sweep_is_refused(place: tuple[Path, str]):
    folder, _ = place
    assert "model.start.run: last" in runner("-m", "experiments=second", "seed=1,2", cwd=folder, code=2).err
