"""Runs with more state than weights and one optimizer are killed and continued as if nothing had been."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.commands.test_resume import STUDY, is_whole, losses, reached, study, tags, weights
from tests.support.command import begin, ended, runner

WEIGHTS = """
data: {name: line, points: 64, valid: 20}
model:
  layers:
    hidden: {Linear: 4}
    norm: BatchNorm1d
    drop: {Dropout: 0.2}
    slow: experiments.slow.Slow
    head: {Linear: 1}
  freeze: {hidden: 1}
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01, groups: {head: {lr: 0.02}}}
trainer: {epochs: 8, batch_size: 16, average: {decay: 0.9}}
checkpoint: {every: 5 steps}
plots: []
device: cpu
"""
SEVERAL = """
data: {name: experiments.pairs.pairs}
model:
  inputs: {one: [{Linear: 4}], other: [{Linear: 4}, Tanh]}
  layers: [{Dropout: 0.2}, experiments.slow.Slow]
  outputs: {sum: {Linear: 1}, sign: {Linear: 2}}
loss: {sum: MSELoss, sign: {name: CrossEntropyLoss, share: 0.5}}
optimizer: {name: Adam, lr: 0.01}
metrics: {sign: [Accuracy]}
trainer: {steps: 32, batch_size: 16, validate_every: 6 steps, train_metrics: false}
checkpoint: {every: 5 steps}
plots: []
device: cpu
"""
PAIRS = """
import torch
from runner.data import Data, Tensors

def pairs():
    one, other = torch.randn(2, 84, 3, generator=torch.Generator().manual_seed(0))
    total = (one + other).sum(1, keepdim=True)
    y = {"sum": total, "sign": (total[:, 0] > 0).long()}

    def part(rows):
        return Tensors({"one": one[rows], "other": other[rows]}, {name: t[rows] for name, t in y.items()})

    return Data(part(slice(0, 64)), part(slice(64, 84)), task={"sum": "regression", "sign": "classification"})
"""


@pytest.mark.parametrize("kind", [WEIGHTS, SEVERAL], ids=["groups, freezing, average", "inputs, outputs, losses"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(kind: str, tmp_path: Path, empty_store: Path) -> None:
    for name in ("whole", "killed"):
        study(tmp_path / name, empty_store)
        (tmp_path / name / "experiments" / "slow.yaml").write_text(kind)
        (tmp_path / name / "experiments" / "pairs.py").write_text(PAIRS)
    runner("experiments=slow", cwd=tmp_path / "whole")
    whole = weights(tmp_path / "whole"), losses(tmp_path / "whole")
    place = tmp_path / "killed"
    process = begin("experiments=slow", cwd=place, env={"WAIT_AT": "18"})
    reached(place, "waiting")
    while ("checkpoint.last.step",) not in tags(place):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    ended(process, place, None)
    runner("resume", "last", cwd=place)
    is_whole(place, whole)
    runner("reproduce", "last", cwd=place)


def test_a_run_is_not_made_shorter_than_it_is(tmp_path: Path, empty_store: Path) -> None:
    study(tmp_path, empty_store)
    (tmp_path / "experiments" / "slow.yaml").write_text(STUDY)
    process = begin("experiments=slow", cwd=tmp_path, env={"WAIT_AT": "14"})
    reached(tmp_path, "waiting")
    os.kill(process.pid, signal.SIGTERM)
    (tmp_path / "go").touch()
    ended(process, tmp_path, 143)
    done = runner("resume", "last", "trainer.epochs=2", cwd=tmp_path, code=2)
    assert "trainer.epochs: 2 are 8 steps, and the run has taken 14; expected at least 4" in done.err
