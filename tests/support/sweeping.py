"""A study whose jobs fail, diverge or are killed where they are told to, and what their sweeps have left."""

import csv
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.support.command import HANGS, SCRIPT, Done, newest

BAD = """
import contextlib, os, shutil, signal, sqlite3, time
from pathlib import Path
import torch
from torch import nn


def kept():
    # How many runs have a checkpoint in the store.
    with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
        return store.execute("select count(*) from tags where key = 'checkpoint.last.step'").fetchone()[0]


class Fails(nn.Module):
    # plan: "3:raise 5:kill": what the sixth training call of the jobs with these seeds does.
    # kill and wait (for a file "go") are done once, by a process that leaves a marker.
    def __init__(self, plan: str = "", seed: int = 0):
        super().__init__()
        self.how, self.calls = dict(part.split(":") for part in plan.split()).get(str(seed), ""), 0

    def forward(self, x):
        self.calls += bool(not x.is_meta and self.training)
        return self.comes(x) if self.calls == 6 and self.training else x

    def comes(self, x):
        if self.how == "raise":
            raise RuntimeError("broken on purpose")
        if self.how == "once" and not Path("once").exists():
            Path("once").touch()
            raise RuntimeError("broken for once")
        if self.how == "plot":
            from runner.sweeps.report.plots import ranked

            ranked.draw = None
        if self.how == "forget":
            if not Path("killed").exists():
                raise RuntimeError("there is nothing to delete")
            with contextlib.closing(sqlite3.connect("mlflow.db")) as store, store:
                second = "select run_uuid from tags where key = 'sweep.job' and value = '1'"
                store.execute(f"update runs set lifecycle_stage = 'deleted' where run_uuid in ({second})")
        if self.how == "diverge":
            return x * float("nan")
        if self.how == "edit":
            Path("experiments/bad.yaml").write_text("this: is no study any more")
        if self.how == "delete":
            Path("x.npy").unlink()
        if self.how in ("kill", "wait") and not Path("killed").exists():
            while kept() < int(os.environ.get("KEPT", 0)):  # checkpoints are on their way in the background
                time.sleep(0.02)
            Path("killed").write_text(str(os.getpid()))
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            end = time.monotonic() + 1500
            while not Path("go").exists() and time.monotonic() < end:
                time.sleep(0.02)
        return x
"""
STUDY = """
data: {name: line, points: 64, valid: 20}
model:
  knobs: {plan: ""}
  layers:
    first: {Linear: 4}
    drop: {Dropout: 0.2}
    bad: {experiments.bad.Fails: {plan: "${model.knobs.plan}", seed: "${seed}"}}
    last: {Linear: 1}
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 3, batch_size: 16, threads: 1}
plots: []
sweep: {plots: false}
device: cpu
"""
STEPS = 12  # of a job's whole training


def furnish(place: Path) -> None:
    """Put the study into a working directory."""
    (place / "experiments").mkdir()
    (place / "experiments" / "bad.py").write_text(BAD)
    (place / "experiments" / "bad.yaml").write_text(STUDY)


def client(place: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place / 'mlflow.db'}")


@dataclass
class Family:
    """A sweep's run and those of its jobs, in the order of their numbers."""

    place: Path
    parent: Any
    jobs: list[Any]

    @property
    def table(self) -> list[dict[str, str]]:
        """The lines of results.csv in the order of the jobs."""
        path = artifacts(self.place, self.parent) / "results.csv"
        return sorted(csv.DictReader(path.read_text().splitlines()), key=lambda line: int(line["job"]))

    @property
    def statuses(self) -> list[str]:
        return [job.info.status for job in self.jobs]

    @property
    def weights(self) -> list[str]:
        """SHA-256 of the last checkpoint of each job."""
        places = [newest(artifacts(self.place, job)) / "state_dict.pt" for job in self.jobs]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in places]

    def steps(self, name: str = "train/loss") -> list[list[int]]:
        history = client(self.place).get_metric_history
        return [sorted(point.step for point in history(job.info.run_id, name)) for job in self.jobs]


def families(place: Path) -> list[Family]:
    """Every sweep in the store, the oldest first."""
    store = client(place)
    runs = store.search_runs([e.experiment_id for e in store.search_experiments()], max_results=1000)
    parents = sorted((r for r in runs if "sweep.jobs" in r.data.tags), key=lambda run: run.info.start_time)
    return [Family(place, p, _of(p, runs)) for p in parents]


def family(place: Path) -> Family:
    """The one sweep in the store."""
    [found] = families(place)
    return found


def artifacts(place: Path, run: Any) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def group(*words: str, cwd: Path, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Begin the console script in a process group of its own, so that all of it can be killed."""
    all_ = {**os.environ, **(env or {})}
    with (cwd / ".out").open("wb") as out, (cwd / ".err").open("wb") as err:
        return subprocess.Popen([SCRIPT, *words], cwd=cwd, env=all_, stdout=out, stderr=err, start_new_session=True)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def over(process: "subprocess.Popen[bytes]", cwd: Path) -> Done:
    code = process.wait(HANGS)
    return Done(code, (cwd / ".out").read_text(), (cwd / ".err").read_text())


def until(met: Callable[[], Any], what: str = "") -> None:
    end = time.monotonic() + HANGS
    while not met():
        assert time.monotonic() < end, f"waited in vain {what}"
        time.sleep(0.02)


def _of(parent: Any, runs: list[Any]) -> list[Any]:
    own = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return sorted(own, key=lambda run: int(run.data.tags["sweep.job"]))
