"""A run that is resumed to another length: a greater one, with each of the schedules, and none below its own."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from runner.commands import resume, train
from runner.settings.context import Context
from runner.settings.trust import permission
from runner.tracking.read import recall
from runner.tracking.store import stores
from tests.commands.test_resume import STUDY, reached, study
from tests.support import composing
from tests.support.command import begin, ended, runner
from tests.tracking.test_moved import URI, call
from tests.training.test_build import PLAIN

#: Schedules whose rate follows from the step and the length alone.
KNOWN = [name for name in PLAIN if name not in ("CosineAnnealingWarmRestarts", "CyclicLR", "ReduceLROnPlateau")]


def rates(place: Path, run_id: str, name: str = "lr") -> list[float]:
    with contextlib.chdir(place):
        return list(recall.points(URI, run_id, [name])[name].values())


#: Of the others it is known by `python -m pytest -m long`.
SOME = ("CosineAnnealingLR", "CyclicLR", "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "WarmupCosineLR")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SOME else [pytest.mark.long]) for name in PLAIN]
)
def test_a_lengthened_schedule_goes_on_as_the_long_one(name: str, empty_store: Path, tmp_path: Path) -> None:
    found, whole = lengthened(name, [], "lr", empty_store, tmp_path)
    assert len(found) == len(whole)
    if name in KNOWN:
        half = len(whole) // 2
        assert found[half:] == pytest.approx(whole[half:], rel=1e-6)


@pytest.mark.parametrize("name", ["OneCycleLR", "CosineAnnealingLR", "SequentialLR"])
def test_so_do_the_rates_of_groups(name: str, empty_store: Path, tmp_path: Path) -> None:
    """Rates that are arguments of a schedule, as OneCycleLR's max_lr, are for each group as its own rate is."""
    found, whole = lengthened(name, ["+optimizer.groups={0.bias:{lr:0.05}}"], "lr/0.bias", empty_store, tmp_path)
    half = len(whole) // 2
    assert max(whole) < 0.2
    assert found[half:] == pytest.approx(whole[half:], rel=1e-6)


def lengthened(name: str, further: list[str], rate: str, empty_store: Path, tmp_path: Path) -> list[list[float]]:
    """Return the rates of a run of four epochs that is made eight, and of one that has eight from the beginning."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    cycles = {"cycle_momentum": False} if name in ("OneCycleLR", "CyclicLR") else {}
    scheduler = json.dumps({"name": name, **PLAIN[name], **cycles}).replace('"', "")
    words = [
        "experiments=linear_regression",
        f"+scheduler={scheduler}",
        "plots=[]",
        "trainer.threads=1",
        "trainer.validate_every=1",
        "device=cpu",
        *further,
    ]
    runs = []
    with contextlib.chdir(tmp_path), composing.hydra():
        permission.begin([])
        for epochs in (4, 8):
            settings = composing.settings(*words, f"trainer.epochs={epochs}")
            context = Context(f"longer{epochs}", OmegaConf.to_yaml(OmegaConf.structured(settings)), [])
            assert train.with_settings(settings, context).code == 0
            runs.append(stores.rows(URI, f"longer{epochs}")[0].run_id)
        assert call(resume, runs[0], "trainer.epochs=8") == 0
    return [rates(tmp_path, run_id, rate) for run_id in runs]


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
