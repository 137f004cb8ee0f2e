"""Whatever ends a run, and whenever it comes, the record says so, and never that the run has finished."""

import itertools
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from runner.tracking.store import stores
from tests.support.command import HANGS, begin, ended, runner

MOODY = """
import inspect, os, time
from torch import nn

class Moody(nn.Module):
    steps = looks = 0

    def forward(self, x):
        if any(frame.filename.endswith("rehearsal.py") for frame in inspect.stack(0)):
            return x  # only tried
        if self.training:
            Moody.steps += 1
            if Moody.steps == 5 and os.environ["MOMENT"] == "saving" and os.environ["ENDS"] == "nan":
                x.register_hook(lambda gradient: gradient * float("nan"))  # the loss is a number, the weights are none
            return self.comes({1: "starting", 10: "mid-epoch"}.get(Moody.steps), x)
        Moody.looks += 1
        return self.comes({3: "validating", 15: "closing"}.get(Moody.looks), x)

    def _save_to_state_dict(self, *args):
        if Moody.steps == 5:
            self.comes("saving", 0.0)
        super()._save_to_state_dict(*args)

    def comes(self, moment, x):
        if moment != os.environ["MOMENT"]:
            return x
        print("now:", moment, flush=True)
        if os.environ["ENDS"] == "exception":
            raise RuntimeError("broken on purpose")
        if os.environ["ENDS"] == "nan":
            return x * float("nan")
        while os.environ["ENDS"].startswith("SIG") and not os.path.exists("go"):
            time.sleep(0.01)
        return x
"""
STUDY = """
data: {name: line, points: 64, valid: 20, test: 20}
model: {layers: [{Linear: 4}, experiments.moody.Moody, {Linear: 1}]}
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 12, batch_size: 16}
checkpoint: {every: 5 steps}
plots: []
device: cpu
"""
ENDS = {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9, "exception": 1, "nan": 1}
MOMENTS = ("starting", "mid-epoch", "validating", "saving", "closing")
MATRIX = list(itertools.product(ENDS, MOMENTS))


def outcome(place: Path, ends: str, moment: str) -> tuple[int, str, str]:
    """Exit code, status and reason of a run that comes to this end at this moment."""
    (place / "experiments").mkdir()
    (place / "experiments" / "moody.py").write_text(MOODY)
    (place / "experiments" / "moody.yaml").write_text(STUDY)
    process = begin("experiments=moody", cwd=place, env={"ENDS": ends, "MOMENT": moment})
    if ends.startswith("SIG"):
        until = time.monotonic() + HANGS
        while f"now: {moment}" not in (place / ".out").read_text():
            assert time.monotonic() < until, (place / ".out").read_text()
            time.sleep(0.01)
        os.kill(process.pid, signal.Signals[ends])
        (place / "go").touch()
    done = ended(process, place, None)
    runner("runs", cwd=place)  # any command on the store settles what a killed process has left
    [row] = stores.rows(f"sqlite:///{place}/mlflow.db")
    tags = stores.open_store(f"sqlite:///{place}/mlflow.db").get_run(row.run_id).data.tags
    return done.code, row.status, tags.get("runner.status_reason", "")


def wrong(ends: str, found: tuple[int, str, str]) -> str:
    """What is not as promised; "" if all is."""
    code, status, reason = found
    expected, words = {
        "SIGTERM": ("KILLED", "interrupted by SIGTERM"),
        "SIGINT": ("KILLED", "interrupted by SIGINT"),
        "SIGKILL": ("KILLED", "is gone; it was last heard of at"),
        "exception": ("FAILED", "RuntimeError: broken on purpose"),
        "nan": ("FAILED", "Diverged: "),
    }[ends]
    return "" if (code, status) == (ENDS[ends], expected) and words in reason else f"{found}"


@pytest.mark.parametrize(("ends", "moment"), MATRIX[::2])  # each end and each moment; all pairs: tests.figures
def test_a_run_that_was_ended_says_so(workplace: Path, ends: str, moment: str):
    assert wrong(ends, outcome(workplace, ends, moment)) == ""


def test_a_run_that_nothing_has_ended_is_finished(workplace: Path):
    """The control."""
    assert outcome(workplace, "nothing", "never")[:2] == (0, "FINISHED")


def figure(store: Path) -> str:
    """All of it; a line for the README."""
    bad = []
    for ends, moment in MATRIX:
        with tempfile.TemporaryDirectory(prefix="runner-status-") as folder:
            shutil.copy(store, Path(folder) / "mlflow.db")
            if told := wrong(ends, outcome(Path(folder), ends, moment)):
                bad.append(f"{ends} while {moment}: {told}")
    return (
        f"{{{', '.join(ENDS)}}} x {{{', '.join(MOMENTS)}}}: {len(MATRIX) - len(bad)} of {len(MATRIX)} as promised"
        f"{''.join(f'; {line}' for line in bad)}"
    )
