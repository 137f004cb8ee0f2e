"""Sweeps whose jobs are trained as one program: what they leave is what the jobs would have left one by one."""

from pathlib import Path

import pytest
import torch

from tests.support.command import newest, runner
from tests.support.sweeping import Family, artifacts, families, family

LAYER = """
from torch import nn

calls = 0


class Breaks(nn.Module):
    # In a model of this width, the tenth training call of all the process breaks.
    def __init__(self, width: int = 0):
        super().__init__()
        self.width = width

    def forward(self, x):
        global calls
        calls += self.training and x.shape[-1] == self.width
        if calls > 10 and x.shape[-1] == self.width:
            raise RuntimeError("broken on purpose")
        return x
"""
STUDY = """
data: {name: line, points: 64, valid: 20}
model:
  knobs: {width: 4, breaks: 0}
  layers:
    first: {Linear: "${model.knobs.width}"}
    breaks: {experiments.many.Breaks: {width: "${model.knobs.breaks}"}}
    drop: {Dropout: 0.2}
    last: {Linear: 1}
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 6, batch_size: 16, threads: 1}
plots: [loss_curve]
device: cpu
"""
FOUR = ("-m", "experiments=many", "seed=1,2", "model.knobs.width=4,5")


@pytest.fixture
def place(workplace: Path) -> Path:
    (workplace / "experiments").mkdir()
    (workplace / "experiments" / "many.py").write_text(LAYER)
    (workplace / "experiments" / "many.yaml").write_text(STUDY)
    return workplace


def weights(found: Family) -> list[dict[str, torch.Tensor]]:
    places = [newest(artifacts(found.place, job)) / "state_dict.pt" for job in found.jobs]
    return [torch.load(path, weights_only=True) for path in places]


def test_one_program_leaves_what_one_by_one_does(place: Path) -> None:
    said = runner(*FOUR, "hydra/launcher=vectorized", cwd=place)
    runner(*FOUR, cwd=place)
    together, alone = families(place)
    programs = [line for line in said.out.splitlines() if line.endswith("as one program")]
    assert programs == ["jobs 0, 2 are trained as one program", "jobs 1, 3 are trained as one program"]
    assert together.statuses == ["FINISHED"] * 4
    assert all((artifacts(place, job) / "plots" / "loss_curve.png").exists() for job in together.jobs)
    for one, other in zip(weights(together), weights(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_program_that_breaks_leaves_the_other_alone(place: Path) -> None:
    runner(*FOUR, "model.knobs.breaks=4", "hydra/launcher=vectorized", cwd=place, code=1)
    found = family(place)
    assert found.statuses == ["FAILED", "FINISHED", "FAILED", "FINISHED"]
    assert "broken on purpose" in found.table[2]["reason"]
    assert found.parent.info.status == "FAILED"


def test_auto_says_what_it_has_measured(place: Path) -> None:
    said = runner(*FOUR, "hydra/launcher=auto", cwd=place)
    assert said.out.count("times as fast") == 2
    assert family(place).statuses == ["FINISHED"] * 4


BAD_PLOT = """
from matplotlib.figure import Figure


class Bad(Figure):
    def draw(self, renderer):
        raise RuntimeError("no pixels on purpose")


def bad(run):
    return Bad()
"""


@pytest.mark.parametrize("launcher", ["one_by_one", "vectorized"])
def test_a_plot_that_fails_takes_nothing_else_with_it(place: Path, launcher: str) -> None:
    (place / "experiments" / "drawn.py").write_text(BAD_PLOT)
    words = ("seed=1,2", "plots=[loss_curve,experiments.drawn.bad]", f"hydra/launcher={launcher}")
    done = runner("-m", "experiments=many", *words, cwd=place, code=1)
    assert "no pixels on purpose" in done.err
    found = family(place)
    assert [job.info.status for job in found.jobs] == ["FAILED", "FAILED"]
    for job in found.jobs:
        kept = artifacts(place, job)
        assert job.data.tags["runner.status_reason"] == "RuntimeError: no pixels on purpose"
        assert (kept / "predictions.npy").is_file()
        assert (kept / "plots" / "loss_curve.png").is_file()
        assert "test/loss" in job.data.metrics or "valid/loss" in job.data.metrics


def test_a_run_tells_of_those_that_it_was_trained_with(place: Path) -> None:
    runner("-m", "experiments=many", "seed=1,2", "plots=[]", "hydra/launcher=vectorized", cwd=place)
    jobs = family(place).jobs
    assert [job.data.tags["sweep.together"] for job in jobs] == ["2", "2"]
    said = runner("reproduce", jobs[0].info.run_id, cwd=place, code=None).out
    assert "it was one of 2 that were trained as one program" in said
    runner("-m", "experiments=many", "seed=1,2", "plots=[]", "hydra/launcher=one_by_one", cwd=place)
    told = [["sweep.together" in job.data.tags for job in found.jobs] for found in families(place)]
    assert sorted(told) == [[False, False], [True, True]]


@pytest.mark.parametrize(
    "words",
    [("hydra/launcher=vectorized", "hydra.launcher.models=0"), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=0")],
    ids=" ".join,
)
def test_a_launcher_of_no_size_is_told_before_there_is_a_sweep(place: Path, words: tuple[str, ...]) -> None:
    done = runner("-m", "experiments=many", "seed=1,2", *words, cwd=place, code=2)
    key = words[1].partition("=")[0]
    assert done.err.startswith((f"{key}: 0 is out of range", f"{key}: must not be 0"))
    assert families(place) == []
