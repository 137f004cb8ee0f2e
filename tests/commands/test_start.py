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


LIKE = """
import runner
from torch import nn

class Like(nn.Module):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = runner.load(teacher, raw=False)

    def forward(self, model, batch):
        return nn.functional.mse_loss(model(batch[0]), self.teacher(batch[0]).detach() + 1)
"""


def test_a_teacher_in_a_loss_is_the_same_one_later(place: tuple[Path, str]):
    folder, first = place
    (folder / "experiments" / "like.py").write_text(LIKE)
    more = "\nloss: {name: experiments.like.Like, teacher: last}"
    (folder / "experiments" / "third.yaml").write_text(STUDY.format(more="") + more)
    runner("experiments=first", "seed=3", "trainer.epochs=1", cwd=folder)
    run = runner("experiments=third", cwd=folder).run_id
    assert "identical" in runner("reproduce", run, cwd=folder).last  # last is this very run now
    lines = runner("evaluate", run, "split=valid", cwd=folder).out.splitlines()
    [[_, recorded, found]] = [line.split() for line in lines if line.startswith("valid/")]
    assert recorded == found
    tags = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(run).data.tags
    assert tags["loaded.last.best"].split()[0] not in (first, run)
    assert "name one by its id" in runner("-m", "experiments=third", "seed=1,2", cwd=folder, code=2).err


def test_last_in_a_sweep_is_refused(place: tuple[Path, str]):
    folder, _ = place
    assert "model.start.run: last" in runner("-m", "experiments=second", "seed=1,2", cwd=folder, code=2).err
