"""`last` is what a person has started last, for every command the same, and which run was taken is said."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

import runner as package
from runner.settings.errors import ConfigError
from runner.tracking.read import recall
from tests.support.command import begin, ended, runner
from tests.support.sweeping import families, family, furnish, until

COMMANDS = {
    "evaluate": ["split=valid"],
    "predict": ["inputs=in.npy", "output=out.npy", "overwrite=true"],
    "export": ["format=pt2", "output=m.pt2", "overwrite=true"],
    "explain": [],
    "reproduce": [],
}
SMALL = ("trainer.epochs=2", "plots=[]", "trainer.threads=1")


def uri(place: Path) -> str:
    return f"sqlite:///{place / 'mlflow.db'}"


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single run, and after it a sweep whose best job is not the one that began last."""
    place = tmp_path_factory.mktemp("swept")
    shutil.copy(empty_store, place / "mlflow.db")
    np.save(place / "in.npy", np.ones((2, 1), "float32"))
    runner(*SMALL, cwd=place)
    runner("-m", *SMALL, "optimizer.lr=0.1,0.2,0.001", "sweep.plots=false", cwd=place)
    return place


@pytest.mark.parametrize("command", COMMANDS)
def test_of_a_sweep_every_command_takes_the_best_job_and_says_so(command: str, swept: Path) -> None:
    found = family(swept)
    parent, best = found.parent.info.run_id, found.parent.data.tags["sweep.best"]
    assert best != found.jobs[-1].info.run_id, "the newest-started job is to be another one"
    name = next(job.info.run_name for job in found.jobs if job.info.run_id == best)
    for word, said in (("last", "last"), (parent[:12], parent[:12])):
        done = runner(command, word, *COMMANDS[command], cwd=swept)
        first = done.err.splitlines()[0]
        assert first == f"{said} is sweep {parent}; its best job {best} ({name}) is taken"
        assert best in done.out or command == "export"
    assert runner(command, best, *COMMANDS[command], cwd=swept).err.count("is taken") == 0


def test_runner_load_takes_the_same_job(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = family(swept).parent.data.tags["sweep.best"]
    last, named = (package.load(run, uri(swept)).state_dict() for run in ("last", best))
    assert {k: v.tolist() for k, v in last.items()} == {k: v.tolist() for k, v in named.items()}
    assert f"its best job {best}" in capsys.readouterr().err


def test_resume_takes_the_sweep_itself(swept: Path) -> None:
    parent = family(swept).parent
    done = runner("resume", "last", cwd=swept)
    assert done.err.splitlines()[0] == f"last is sweep {parent.info.run_id} ({parent.info.run_name})"
    assert done.last == f"sweep {parent.info.run_id} is FINISHED: there is nothing left of its 3 jobs"
    refused = runner("resume", "last", "trainer.epochs=4", cwd=swept, code=2)
    assert f"runner resume {parent.data.tags['sweep.best']} trainer.epochs=4" in refused.err


def test_a_single_run_is_said_too(workplace: Path) -> None:
    run_id = runner("experiments=linear_regression", *SMALL, cwd=workplace).run_id
    name = MlflowClient(uri(workplace)).get_run(run_id).info.run_name
    for words in (["evaluate", "last", "split=train"], ["resume", "last"], ["reproduce", "last"]):
        assert runner(*words, cwd=workplace).err.splitlines()[:1] == [f"last is run {run_id} ({name})"]
    assert "last is" not in runner("evaluate", run_id, "split=train", cwd=workplace).err


def test_a_job_that_is_resumed_by_itself_does_not_become_the_last(workplace: Path) -> None:
    runner("-m", *SMALL, "seed=1,2", "sweep.plots=false", cwd=workplace)
    single = runner(*SMALL, cwd=workplace).run_id
    runner("resume", family(workplace).jobs[0].info.run_id, "trainer.epochs=3", cwd=workplace)
    assert recall.find(uri(workplace), "last") == single


def test_what_is_deleted_is_not_the_last(workplace: Path) -> None:
    client, first = MlflowClient(uri(workplace)), runner(*SMALL, cwd=workplace).run_id
    runner("-m", *SMALL, "seed=1,2", "sweep.plots=false", cwd=workplace)
    found = family(workplace)
    best = found.parent.data.tags["sweep.best"]
    client.delete_run(best)
    refused = runner("evaluate", "last", "split=train", cwd=workplace, code=2)
    assert f"whose best job {best} was deleted; `runner runs tracking.experiment=runner` shows its jobs" in refused.err
    assert runner("runs", "tracking.experiment=runner", cwd=workplace).code == 0
    client.delete_run(found.parent.info.run_id)
    assert recall.find(uri(workplace), "last") == first, "not a job that is left of it"


def test_a_sweep_without_a_best_job_is_one_message(workplace: Path) -> None:
    furnish(workplace)
    np.save(workplace / "in.npy", np.ones((2, 1), "float32"))
    words = ("-m", "experiments=bad", "seed=1,2", "model.knobs.plan='1:raise 2:raise'", "sweep.plots=false")
    runner(*words, cwd=workplace, code=1)
    parent = family(workplace).parent.info.run_id
    with pytest.raises(ConfigError) as refused:
        package.load("last", uri(workplace))
    said = f"last is sweep {parent}, which is FAILED and has no best job among its 2; "
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(f"name one, or go on with it: runner resume {parent[:8]}")
    for command, further in COMMANDS.items():
        done = runner(command, "last", *further, cwd=workplace, code=2)
        assert done.err.count("\n") == 1
        assert said in done.err


def test_while_a_sweep_is_at_work_it_is_the_last_and_no_job_of_it_is_taken(workplace: Path) -> None:
    furnish(workplace)
    words = ("-m", "experiments=bad", "seed=1,2", "model.knobs.plan='2:wait'", "sweep.plots=false")
    process = begin(*words, cwd=workplace)
    until((workplace / "killed").exists, "for the second job")
    try:
        with pytest.raises(ConfigError, match="which is RUNNING and has no best job"):
            recall.find_run(uri(workplace), "last")
    finally:
        (workplace / "go").touch()
        ended(process, workplace)
    assert recall.find_run(uri(workplace), "last") == family(workplace).parent.data.tags["sweep.best"]


def test_runs_of_one_millisecond_are_always_told_apart_alike(workplace: Path) -> None:
    for seed in (1, 2):
        runner(*SMALL, f"seed={seed}", cwd=workplace)
    runner("-m", *SMALL, "seed=3,4", "sweep.plots=false", cwd=workplace)
    with sqlite3.connect(workplace / "mlflow.db") as store:
        store.execute("UPDATE runs SET start_time = 1000")
    store.close()
    jobs = {job.info.run_id for job in families(workplace)[0].jobs}
    found = {recall.find(uri(workplace), "last") for _ in range(3)}
    assert len(found) == 1
    assert found.isdisjoint(jobs)


def test_a_sweep_of_more_jobs_than_a_page_is_found(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "PAGE", 3)
    client = MlflowClient(uri(workplace))
    parent = client.create_run("0", start_time=10, tags={"sweep.jobs": "8"}).info.run_id
    for number in range(8):
        client.create_run("0", start_time=11 + number, tags={"mlflow.parentRunId": parent})
    assert recall.find(uri(workplace), "last") == parent
    later = client.create_run("0", start_time=15).info.run_id
    assert recall.find(uri(workplace), "last") == later
