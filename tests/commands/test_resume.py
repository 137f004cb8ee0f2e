"""A run that was interrupted, killed or damaged is continued in its own record, as if nothing had been."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from runner.training.state import checkpoint
from tests.support.command import HANGS, begin, ended, newest, runner

SLOW = """
import os, time
import torch
from torch import nn

def draw(run):
    from matplotlib.figure import Figure

    print("drawing", flush=True)
    while not os.path.exists("go"):
        time.sleep(0.01)
    return Figure()

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = 0  # of this model: one that is only tried counts its own

    def forward(self, x):
        if self.training:
            time.sleep(0.01)
            self.steps += 1
            if self.steps == int(os.environ.get("WAIT_AT", 0)):
                print("waiting", flush=True)
            while self.steps == int(os.environ.get("WAIT_AT", 0)) and not os.path.exists("go"):
                time.sleep(0.01)
            if self.steps == int(os.environ.get("BREAK_AT", 0)):
                raise RuntimeError("broken on purpose")
            if self.steps == int(os.environ.get("NAN_AT", 0)):
                return x * float("nan")
        elif os.environ.get("SLOW_VALIDATION"):
            time.sleep(float(os.environ["SLOW_VALIDATION"]))
        return x
"""
STUDY = """
data: {name: line, points: 64, valid: 20}
model:
  layers:
    - Linear: 4
    - Dropout: 0.2
    - experiments.slow.Slow
    - Linear: 1
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 12, batch_size: 16}
checkpoint: {every: 5 steps}
plots: []
device: cpu
"""
STEPS = 48


@pytest.fixture
def place(workplace: Path) -> Path:
    study(workplace, workplace / "mlflow.db")
    return workplace


def study(place: Path, store: Path) -> None:
    """A working directory with the study, and a copy of the empty `store`."""
    (place / "experiments").mkdir(parents=True)
    if not (place / "mlflow.db").exists():
        shutil.copy(store, place / "mlflow.db")
    (place / "experiments" / "slow.py").write_text(SLOW)
    (place / "experiments" / "slow.yaml").write_text(STUDY)


def client(place: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place}/mlflow.db")


def the_run(place: Path) -> Any:
    [run] = client(place).search_runs([e.experiment_id for e in client(place).search_experiments()])
    return run


def points(place: Path) -> list[tuple[str, int]]:
    """(key, step) of every row, in the order of steps; equal ones would stand twice."""
    with sqlite3.connect(place / "mlflow.db") as store:
        return store.execute("select key, step from metrics order by key, step").fetchall()


def artifacts(place: Path) -> Path:
    return Path(the_run(place).info.artifact_uri.removeprefix("file://"))


def weights(place: Path) -> str:
    return checkpoint.digest(checkpoint.load_state_dict(newest(artifacts(place)) / "state_dict.pt"))


def losses(place: Path) -> list[tuple[int, float]]:
    found = client(place).get_metric_history(the_run(place).info.run_id, "train/loss")
    return sorted((point.step, point.value) for point in found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[str, list[tuple[int, float]]]:
    return uninterrupted(tmp_path_factory.mktemp("whole"), empty_store)


def uninterrupted(place: Path, store: Path, *words: str) -> tuple[str, list[tuple[int, float]]]:
    """Weights and losses of the training that nothing has happened to."""
    study(place, store)
    runner("experiments=slow", *words, cwd=place)
    return weights(place), losses(place)


def reached(place: Path, text: str) -> None:
    """Wait until the command has printed `text`."""
    until = time.monotonic() + HANGS
    while text not in (place / ".out").read_text():
        assert time.monotonic() < until, f"{text!r} was not printed:\n{(place / '.out').read_text()[-2000:]}"
        time.sleep(0.02)


def told_to_stop(place: Path, process: Any, number: int, code: int) -> Any:
    """Send a signal to a command that waits, and let it go on."""
    os.kill(process.pid, number)
    (place / "go").touch()
    return ended(process, place, code)


def is_whole(place: Path, whole: tuple[str, list[tuple[int, float]]]) -> None:
    assert the_run(place).info.status == "FINISHED"
    found = points(place)
    assert len(found) == len(set(found)), "no point twice"
    assert losses(place) == whole[1]
    assert weights(place) == whole[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_saves_is_killed_and_goes_on(place: Path, whole, number, code):
    process = begin("experiments=slow", cwd=place, env={"WAIT_AT": "14"})
    reached(place, "waiting")
    done = told_to_stop(place, process, number, code)
    run = the_run(place)
    assert done.last.startswith(f"run {run.info.run_id} KILLED train/loss=")
    assert run.info.status == "KILLED"
    assert run.data.tags["runner.status_reason"] == f"interrupted by {signal.Signals(number).name}"
    assert f"to continue it: runner resume {run.info.run_id[:8]}" in done.out
    assert int(run.data.tags["checkpoint.last.step"]) == losses(place)[-1][0] >= 12, "it was saved where it stopped"
    done = runner("resume", run.info.run_id[:8], cwd=place)
    assert done.last.startswith(f"run {run.info.run_id} FINISHED train/loss=")
    is_whole(place, whole)


def killed_until_done(place: Path, kills: int, words: str) -> int:
    """Kill -9 at random moments, resume after each, and at last to the end. Returns how many were killed."""
    draw, command, killed = random.Random(kills), ["experiments=slow", words], 0
    while killed < kills:
        process = begin(*command, cwd=place)
        reached(place, "run ")
        while not killed and ("checkpoint.last.step",) not in tags(place):
            time.sleep(0.01)  # a run without one would have to begin anew
        time.sleep(draw.uniform(0, 0.12))
        os.kill(process.pid, signal.SIGKILL)
        if ended(process, place, None).code == 0:
            break
        killed, command = killed + 1, ["resume", "last"]
    runner("resume", "last", cwd=place)
    return killed


def tags(place: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as store:
        return store.execute("select key from tags").fetchall()


def figure(folder: Path, store: Path, kills: int = 20, epochs: int = 60) -> str:
    """One line for the table of figures."""
    whole = uninterrupted(folder / "whole", store, f"trainer.epochs={epochs}")
    study(folder / "killed", store)
    killed = killed_until_done(folder / "killed", kills, f"trainer.epochs={epochs}")
    is_whole(folder / "killed", whole)
    return f"{killed} random SIGKILLs with resume in between: one run, no point twice, losses and weights identical"


def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path: Path, empty_store: Path):
    assert figure(tmp_path, empty_store, kills=4, epochs=30).startswith("4 random SIGKILLs")


def test_resuming_from_another_directory_needs_the_store_alone(place: Path, whole, tmp_path: Path):
    process = begin("experiments=slow", cwd=place, env={"WAIT_AT": "18"})
    reached(place, "waiting")
    told_to_stop(place, process, signal.SIGTERM, 143)
    there = tmp_path / "there"
    shutil.copytree(place / "experiments", there / "experiments")
    runner("resume", "last", f"tracking.uri=sqlite:///{place}/mlflow.db", cwd=there)
    is_whole(place, whole)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(place: Path, whole):
    process = begin("experiments=slow", cwd=place, env={"WAIT_AT": "22"})
    reached(place, "waiting")
    told_to_stop(place, process, signal.SIGTERM, 143)
    damaged = newest(artifacts(place)) / "training.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    kept = [entry["step"] for entry in json.loads(the_run(place).data.tags["checkpoint.last.kept"])]
    done = runner("resume", "last", cwd=place)
    assert f"checkpoint of step {kept[0]}: " in done.err
    assert "is damaged: its SHA-256 is " in done.err
    assert f"falling back to the checkpoint of step {kept[1]}" in done.err
    is_whole(place, whole)


def test_when_all_checkpoints_are_damaged_nothing_is_begun_anew(place: Path):
    runner("experiments=slow", "trainer.epochs=2", cwd=place)
    states = list(artifacts(place).glob("checkpoints/last-*/training.pt"))
    assert len(states) == 2
    for path in states:
        path.write_bytes(path.read_bytes()[:-7])
    done = runner("resume", "last", "trainer.epochs=3", cwd=place, code=1)
    assert done.err.count("is damaged") == 2
    assert "Traceback" not in done.err
    assert the_run(place).info.status == "FINISHED"
    assert losses(place)[-1][0] == 8


def test_more_epochs_are_the_training_that_had_them_from_the_start(place: Path, whole):
    runner("experiments=slow", "trainer.epochs=5", cwd=place)
    done = runner("resume", "last", cwd=place)
    assert "is FINISHED after 5 epochs; trainer.epochs=N continues it up to N" in done.out
    runner("resume", "last", "trainer.epochs=12", cwd=place)
    is_whole(place, whole)
    tags = the_run(place).data.tags
    assert tags["drift.trainer.epochs"] == "5 -> 12 after step 20"
    assert (tags["runner.command"], the_run(place).data.params["trainer.epochs"]) == (tags["runner.command"], "5")


def test_a_changed_hyperparameter_takes_hold_and_is_told(place: Path, whole):
    runner("experiments=slow", "trainer.epochs=6", cwd=place)
    runner("resume", "last", "trainer.epochs=12", "optimizer.lr=0.5", cwd=place)
    assert the_run(place).data.tags["drift.optimizer.lr"] == "0.01 -> 0.5 after step 24"
    assert losses(place)[:24] == whole[1][:24]
    assert losses(place)[25:] != whole[1][25:]
    rates = {p.step: p.value for p in client(place).get_metric_history(the_run(place).info.run_id, "lr")}
    assert (rates[24], rates[28]) == (0.01, 0.5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.points=65", "data.points: a run cannot be continued with another model, other data"),
        ("optimizer.name=SGD", "(optimizer.name: 'Adam' -> 'SGD')"),
        ("trainer.batch_size=8", "(trainer.batch_size: 16 -> 8)"),
        ("seed=3", "(seed: 0 -> 3)"),
        ("trainer.epoch=9", "trainer.epoch: "),
        ("optimizer.lr=fast", "optimizer"),
    ],
)
def test_what_would_make_it_another_run_is_refused(place: Path, override, said):
    runner("experiments=slow", "trainer.epochs=1", cwd=place)
    done = runner("resume", "last", override, cwd=place, code=2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert the_run(place).info.status == "FINISHED"


def test_a_run_without_a_checkpoint_says_so(place: Path):
    process = begin("experiments=slow", "checkpoint.every=null", cwd=place, env={"WAIT_AT": "10"})
    reached(place, "waiting")
    os.kill(process.pid, signal.SIGKILL)
    ended(process, place, None)
    done = runner("resume", "last", cwd=place, code=2)
    assert "is KILLED and kept no checkpoint to continue from; checkpoint.every=1 keeps some" in done.err


# However it ends


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"BREAK_AT": "10"}, "RuntimeError: broken on purpose"),
        ({"NAN_AT": "10"}, "Diverged: train/loss is nan at step 10"),
    ],
)
def test_a_failure_says_why_and_what_was_kept_stays(place: Path, whole, env, reason):
    done = runner("experiments=slow", cwd=place, env=env, code=1)
    run = the_run(place)
    assert (run.info.status, run.data.tags["runner.status_reason"]) == ("FAILED", reason)
    assert reason.partition(": ")[2] in (artifacts(place) / "traceback.txt").read_text()
    assert done.last.startswith(f"run {run.info.run_id} FAILED")
    assert losses(place) == whole[1][:9]
    assert run.data.tags["checkpoint.last.step"] == "5"
    runner("resume", "last", cwd=place)
    is_whole(place, whole)


def test_a_run_that_is_told_to_stop_while_it_draws_is_not_finished(place: Path):
    process = begin("experiments=slow", "plots=[experiments.slow.draw]", cwd=place)
    reached(place, "drawing")
    told_to_stop(place, process, signal.SIGTERM, 143)
    assert the_run(place).info.status == "KILLED"


def test_a_time_limit_stops_in_time_and_can_be_gone_on_from(place: Path, whole):
    (place / "experiments" / "slow.yaml").write_text(STUDY.replace("epochs: 12", "epochs: 12, time_limit: 3 seconds"))
    slow = {"SLOW_VALIDATION": "0.3"}  # 3.6 s in all, however fast the machine
    done = runner("experiments=slow", "trainer.time_limit=1 second", cwd=place, env=slow, code=1)
    assert the_run(place).info.status == "KILLED"
    assert the_run(place).data.tags["runner.status_reason"] == "trainer.time_limit of 1 second is reached"
    assert " KILLED " in done.last
    runner("resume", "last", "trainer.time_limit=1 hour", cwd=place)
    is_whole(place, whole)
