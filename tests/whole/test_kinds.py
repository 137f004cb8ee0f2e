"""Every kind of training: killed and resumed, repeated, summed up and explained, trained beside another."""

import importlib.util
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from runner.commands import explain, reproduce, resume, summary, train
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.trust import permission
from runner.tracking.read import checkpoints, recall, reproduction
from runner.tracking.store import stores
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.state import checkpoint
from runner.training.vectorized import drive_many, groups
from tests.support import composing, kinds
from tests.support.command import begin, ended
from tests.tracking.test_moved import URI, call
from tests.training.test_vectorized import apart

STUDIES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("kinds.yaml").read_text())
#: Keys of a study here that are none of a configuration.
BESIDE = ("stacked", "needs")


def marks(package: str | None) -> list[pytest.MarkDecorator]:
    if package == "torchvision":
        return [pytest.mark.vision]
    missing = package is not None and importlib.util.find_spec(package) is None
    return [pytest.mark.skipif(missing, reason=f"{package} is not installed")]


KINDS = [pytest.param(name, marks=marks(study.get("needs"))) for name, study in STUDIES.items() if name != "all"]


@pytest.fixture
def place(workplace: Path, experiments: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with all studies and what they read; it is the current one."""
    monkeypatch.chdir(workplace)
    kinds.files(workplace)
    shutil.copy(kinds.__file__, experiments / "kinds.py")
    for name, study in STUDIES.items():
        body = {} if name == "all" else {"defaults": ["all"]}
        body |= {key: value for key, value in study.items() if key not in BESIDE}
        (experiments / f"{name}.yaml").write_text(yaml.safe_dump(body, sort_keys=False))
    with composing.hydra():
        permission.begin([])
        yield workplace


def context(settings: Settings) -> Context:
    return Context("whole", OmegaConf.to_yaml(OmegaConf.structured(settings)), [])


def record(run_id: str) -> tuple[Any, str]:
    """All values that training measures, and the digest of the last weights."""
    points = recall.points(URI, run_id, reproduction.counted(recall.facts(URI, run_id)[2]))
    return points, checkpoint.digest(checkpoints.weights(URI, run_id, "last"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_as_if_nothing_had_been_and_is_repeated(kind: str, place: Path, capsys: Any) -> None:
    """It is killed in its seventh step, two steps after a checkpoint within an epoch."""
    killed = ended(begin(f"experiments={kind}", cwd=place, env={"KILLED": ""}), place, None)
    assert killed.code == -signal.SIGKILL, killed.err
    settings = composing.settings(f"experiments={kind}")
    assert train.with_settings(settings, context(settings)).code == 0
    [whole] = stores.rows(URI, "whole")
    [row] = [row for row in stores.rows(URI) if row.run_id != whole.run_id]
    assert row.status == "KILLED"
    assert call(resume, row.run_id) == 0
    assert record(row.run_id) == record(whole.run_id)
    assert max(record(row.run_id)[0]["train/loss"]) > 7
    assert call(reproduce, row.run_id) == 0
    assert f"reproduce {row.run_id} identical" in capsys.readouterr().out
    assert call(explain, row.run_id) == 0
    assert capsys.readouterr().out.startswith("the first of ")
    assert summary.with_settings(settings, context(settings)).code == 0
    assert "total" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_two_jobs_are_trained_as_one_program_as_each_alone_or_it_is_said_why_not(kind: str, place: Path) -> None:
    words = f"experiments={kind}", "trainer.precision=fp64", "plots=[]"
    jobs = [composing.settings(*words, f"seed={seed}") for seed in (1, 2)]
    runs = [prepare(job, "test") for job in jobs]
    together, reasons = groups(runs)
    expected = STUDIES[kind]["stacked"]
    if together:
        assert expected is True
        assert drive_many(runs, [[], []]) == [None, None]
        alone = [prepare(job, "test") for job in jobs]
        for run in alone:
            drive(run)
        assert apart(runs, alone) < 1e-12
        runs += alone
    else:
        assert all(expected in reasons[i] for i in (0, 1))
    for run in runs:
        run.close()
