"""A sweep: one parent run, resumed as if nothing had been, and the truth at its end."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import begin, ended, runner
from tests.support.server import Server
from tests.support.sweeping import (
    STEPS,
    Family,
    artifacts,
    client,
    families,
    family,
    furnish,
    group,
    kill_group,
    until,
)

SIX = ("-m", "experiments=bad", "seed=1,2,3,4,5,6")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def place(workplace: Path) -> Path:
    furnish(workplace)
    return workplace


@pytest.fixture(scope="module")
def whole(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The weights of the six jobs of a sweep that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_store, folder / "mlflow.db")
    furnish(folder)
    runner(*SIX, cwd=folder)
    return family(folder).weights


def plan(*told: str) -> str:
    return f"model.knobs.plan='{' '.join(told)}'"


def times(found: Family) -> dict[str, tuple[int, int]]:
    """Run id -> when it began and ended, of those that are FINISHED."""
    done = [job.info for job in found.jobs if job.info.status == "FINISHED"]
    return {info.run_id: (info.start_time, info.end_time) for info in done}


def is_whole(found: Family, weights: list[str]) -> None:
    """Everything FINISHED, once, as if nothing had been."""
    assert found.parent.info.status == "FINISHED"
    assert found.statuses == ["FINISHED"] * 6
    assert found.steps() == [list(range(1, STEPS + 1))] * 6, "no step is missing, and none is there twice"
    assert found.steps("valid/loss") == [[4, 8, 12]] * 6
    assert found.weights == weights
    assert [line["status"] for line in found.table] == ["FINISHED"] * 6


HOW = {
    "id": lambda found: ["resume", found.parent.info.run_id[:10]],
    "last": lambda found: ["resume", "last"],
    "same command": lambda found: [*SIX, plan("3:kill"), "sweep.resume=last"],
}


@pytest.mark.parametrize(("how", "every"), [("id", "1"), ("last", "null"), ("same command", "1")])
def test_a_killed_sweep_goes_on_where_it_was(how: str, every: str, place: Path, whole: list[str]) -> None:
    keep = [] if every == "null" else ["checkpoint.every=1"]
    kept = {"KEPT": "3" if keep else "0"}  # with that of the job that is killed
    runner(*SIX, plan("3:kill"), *keep, cwd=place, env=kept, code=-signal.SIGKILL)
    before = family(place)
    assert len(before.jobs) == 3
    words = HOW[how](before)
    runner(*words, *(keep if words[0] == "-m" else []), cwd=place)
    after = family(place)
    is_whole(after, whole)
    assert times(before).items() <= times(after).items()
    assert len(times(before)) == 2
    assert [job.info.run_id for job in after.jobs[:3]] == [job.info.run_id for job in before.jobs]
    resumed = [job.data.tags.get("runner.resumed") for job in after.jobs]
    assert resumed == [None, None, "after step 4" if keep else None, None, None, None]


@pytest.mark.long
def test_killed_with_two_workers_it_goes_on_too(place: Path, whole: list[str]) -> None:
    process = group(*SIX, *JOBLIB, plan("3:wait"), "checkpoint.every=1", cwd=place)
    until((place / "killed").exists)
    kill_group(process)
    before = family(place)
    assert 2 <= len(before.jobs) <= 4
    runner("resume", "last", cwd=place)
    after = family(place)
    is_whole(after, whole)
    assert times(before).items() <= times(after).items()
    assert {job.info.run_id for job in before.jobs} <= {job.info.run_id for job in after.jobs}


@pytest.mark.parametrize(("launcher", "number"), [((), 2), ((), 15), (JOBLIB, 15)])
def test_an_interrupted_sweep_says_so_and_goes_on(
    launcher: tuple[str, ...], number: int, place: Path, whole: list[str]
) -> None:
    process = begin(*SIX, *launcher, plan("3:wait"), "checkpoint.every=1", cwd=place)
    until((place / "killed").exists)
    os.kill(process.pid, number)
    if not launcher:  # a process of a launcher is ended while it waits
        (place / "go").touch()
    done = ended(process, place, code=None)
    found = family(place)
    name = signal.Signals(number).name
    assert done.code == 128 + number, done.err
    [waited] = [job for job in found.jobs if job.data.tags["sweep.job"] == "2"]
    assert (found.parent.info.status, waited.info.status) == ("KILLED", "KILLED")
    assert found.parent.data.tags["runner.status_reason"] == f"interrupted by {name}"
    assert done.last.startswith(f"sweep {found.parent.info.run_id} KILLED best=")
    assert "RUNNING" not in {line["status"] for line in found.table}
    runner("resume", "last", "hydra/launcher=one_by_one", cwd=place)
    is_whole(family(place), whole)


def test_failures_are_told_and_the_others_finish(place: Path) -> None:
    done = runner(*SIX, plan("3:raise", "5:diverge"), "sweep.plots=true", cwd=place, code=1)
    found = family(place)
    assert found.statuses == ["FINISHED", "FINISHED", "FAILED", "FINISHED", "FAILED", "FINISHED"]
    reasons = [job.data.tags.get("runner.status_reason", "") for job in found.jobs]
    assert reasons[2] == "RuntimeError: broken on purpose"
    assert reasons[4] == "Diverged: train/loss is nan at step 6"
    assert found.parent.info.status == "FAILED"
    why = found.parent.data.tags["runner.status_reason"]
    assert why.startswith("2 of 6 jobs are not FINISHED: job 2 FAILED: RuntimeError: broken on purpose; job 4 FAILED: ")
    best = min((job for job in found.jobs if job.info.status == "FINISHED"), key=_best)
    assert done.last == (
        f"sweep {found.parent.info.run_id} FAILED best={best.info.run_id} seed={found.jobs.index(best) + 1}"
    )
    _right(found, best)
    assert "RuntimeError: broken on purpose" in done.out
    assert done.err.count("Traceback") == 2
    assert (artifacts(place, found.jobs[2]) / "traceback.txt").exists()


def _best(job: Any) -> float:
    return float(job.data.tags["best.value"])


def _right(found: Family, best: Any) -> None:
    """The table says what the runs say, as CSV and as MLflow's own table."""
    for line, job in zip(found.table, found.jobs, strict=True):
        assert (line["run_id"], line["status"]) == (job.info.run_id, job.info.status)
        assert line["seed"] == job.data.params["seed"]
        assert line["reason"] == (job.data.tags.get("runner.status_reason", "") if line["status"] == "FAILED" else "")
        if line["status"] == "FINISHED":
            assert float(line["valid/loss"]) == _best(job)
    assert [line["run_id"] for line in found.table if line["rank"] == "1"] == [best.info.run_id]
    told = json.loads((artifacts(found.place, found.parent) / "results.json").read_text())
    assert sorted(row[told["columns"].index("run_id")] for row in told["data"]) == sorted(
        job.info.run_id for job in found.jobs
    )
    tags = found.parent.data.tags
    assert (tags["sweep.jobs"], tags["sweep.finished"], tags["sweep.best"]) == ("6", "4", best.info.run_id)


def test_children_say_whose_they_are_and_what_differs(place: Path) -> None:
    runner("-m", "experiments=bad", "optimizer.lr=0.1,0.01", "seed=1,2", "trainer.epochs=1", cwd=place)
    found = family(place)
    assert [job.info.run_name for job in found.jobs] == [
        "optimizer.lr=0.1, seed=1",
        "optimizer.lr=0.1, seed=2",
        "optimizer.lr=0.01, seed=1",
        "optimizer.lr=0.01, seed=2",
    ]
    assert found.parent.info.run_name == "optimizer.lr=0.1,0.01 seed=1,2"
    manifest = json.loads((artifacts(place, found.parent) / "manifest.json").read_text())
    assert [job["config"]["optimizer"]["lr"] for job in manifest["jobs"]] == [0.1, 0.1, 0.01, 0.01]


def test_a_file_edited_meanwhile_changes_nothing(place: Path) -> None:
    """In one process; tests/cli/test_launchers.py edits it under launchers."""
    runner("-m", "experiments=bad", "seed=1,2,3,4", "trainer.epochs=3", plan("1:edit"), cwd=place)
    found = family(place)
    assert "no study any more" in (place / "experiments" / "bad.yaml").read_text()
    assert found.statuses == ["FINISHED"] * 4
    assert {job.data.params["optimizer.lr"] for job in found.jobs} == {"0.01"}


def test_a_plot_of_the_sweep_that_raises_takes_nothing_along(place: Path) -> None:
    words = ("-m", "experiments=bad", "seed=1,2", "trainer.epochs=3", "sweep.plots=true", plan("1:plot"))
    done = runner(*words, cwd=place)
    found = family(place)
    assert "the sweep's plot ranked cannot be drawn: TypeError: " in done.err
    assert "Traceback" not in done.err
    assert (found.parent.info.status, found.statuses) == ("FINISHED", ["FINISHED"] * 2)
    assert found.parent.data.tags["sweep.best"] == min(found.jobs, key=_best).info.run_id
    drawn = {path.stem for path in (artifacts(place, found.parent) / "plots").glob("*.png")}
    assert drawn == {"by_parameter", "curves", "mean_and_spread"}


def test_a_job_whose_run_was_deleted_is_no_store_that_does_not_answer(place: Path) -> None:
    runner("-m", "experiments=bad", "seed=1,2,3", plan("1:forget 2:kill"), cwd=place, code=-signal.SIGKILL)
    assert family(place).statuses == ["FAILED", "RUNNING"]
    done = runner("resume", "last", cwd=place, code=1)
    found = family(place)
    assert found.statuses == ["FINISHED", "FINISHED"], "the first and the third"
    assert [line["status"] for line in found.table] == ["FINISHED", "FAILED", "FINISHED"]
    assert "cannot be continued" in found.table[1]["reason"]
    assert "the store does not" not in done.err
    assert found.parent.data.tags["sweep.finished"] == "2"
    assert "sweep.best" in found.parent.data.tags


def test_a_job_that_cannot_begin_has_a_run_that_says_why(place: Path) -> None:
    arrays(place)
    runner("-m", "experiments=bad", "seed=1,2", plan("1:delete"), cwd=place, code=1)
    found = family(place)
    assert found.statuses == ["FINISHED", "FAILED"]
    assert "x.npy" in found.jobs[1].data.tags["runner.status_reason"]
    assert "x.npy" in (artifacts(place, found.jobs[1]) / "traceback.txt").read_text()
    assert "seed: 2" in (artifacts(place, found.jobs[1]) / "config.yaml").read_text()
    assert found.jobs[1].info.run_name == "seed=2"


def arrays(place: Path) -> None:
    """Data in files, for the study."""
    np.save(place / "x.npy", np.random.default_rng(0).normal(size=(64, 1)).astype("float32"))
    np.save(place / "y.npy", np.ones((64, 1), "float32"))
    study = place / "experiments" / "bad.yaml"
    line = "data: {name: line, points: 64, valid: 20}"
    assert line in study.read_text()
    study.write_text(study.read_text().replace(line, "data: {name: arrays, x: x.npy, y: y.npy, valid: 0.2}"))


def test_a_finished_sweep_has_nothing_to_go_on_with(place: Path) -> None:
    runner("-m", "experiments=bad", "seed=1,2", "trainer.epochs=1", cwd=place)
    before = family(place)
    done = runner("resume", before.parent.info.run_id, cwd=place)
    assert done.last == f"sweep {before.parent.info.run_id} is FINISHED: there is nothing left of its 2 jobs"
    assert times(family(place)) == times(before)


def test_a_sweep_at_work_is_not_resumed(place: Path) -> None:
    process = begin("-m", "experiments=bad", "seed=1,2", plan("1:wait"), cwd=place)
    until((place / "killed").exists)
    refused = runner("resume", family(place).parent.info.run_id, cwd=place, code=2, beside=True)
    assert "is RUNNING: its process is still at work" in refused.err
    os.kill(process.pid, signal.SIGKILL)
    ended(process, place, -signal.SIGKILL)


def test_a_job_at_work_keeps_its_sweep_from_going_on(place: Path) -> None:
    process = begin("-m", "experiments=bad", "seed=1,2", plan("1:wait"), cwd=place)
    until((place / "killed").exists)
    parent = family(place).parent.info.run_id
    client(place).set_terminated(parent, "KILLED")  # as if only the sweep's own process had died
    refused = runner("resume", parent, cwd=place, code=2, beside=True)
    assert f"job 0 of sweep {parent} is still at work, in process" in refused.err
    os.kill(process.pid, signal.SIGKILL)
    ended(process, place, -signal.SIGKILL)


def test_a_sweep_goes_on_as_it_was_recorded(place: Path) -> None:
    runner(*SIX, plan("1:raise"), "trainer.epochs=3", cwd=place, code=1)
    parent = family(place).parent.info.run_id
    refused = runner("resume", parent, "optimizer.lr=3", cwd=place, code=2)
    assert "optimizer.lr=3: a sweep goes on as it was recorded" in refused.err
    assert "to continue one of its jobs alone: runner resume " in refused.err
    refused = runner("-m", "seed=1,2", f"sweep.resume={parent}", cwd=place, code=2)
    assert "a sweep goes on as it was recorded; leave out seed=1" in refused.err
    refused = runner("-m", "experiments=bad", "seed=7,8", "sweep.resume=last", cwd=place, code=2)
    assert "has other jobs than this command" in refused.err
    assert len(families(place)) == 1


def test_wrong_jobs_are_left_out_and_the_exit_code_says_so(place: Path) -> None:
    words = ("-m", "experiments=bad", "optimizer.lr=0.1,-1,0.2", "trainer.epochs=1")
    runner(*words, cwd=place, code=2)
    assert families(place) == []
    done = runner(*words, "sweep.keep_going=true", cwd=place, code=2)
    found = family(place)
    assert "left out: job 1" in done.err
    assert [(job.data.tags["sweep.job"], job.info.run_name) for job in found.jobs] == [
        ("0", "optimizer.lr=0.1"),
        ("2", "optimizer.lr=0.2"),
    ]
    assert [line["job"] for line in found.table] == ["0", "2"]
    assert found.parent.info.status == "FINISHED"


def test_a_sweep_of_one_job_is_a_sweep(place: Path) -> None:
    done = runner("-m", "experiments=bad", "trainer.epochs=1", cwd=place)
    found = family(place)
    assert (found.statuses, done.last.split()[3]) == (["FINISHED"], f"best={found.jobs[0].info.run_id}")


def test_check_begins_no_run(place: Path) -> None:
    done = runner("check", "-m", "experiments=bad", "seed=1,2", cwd=place)
    assert "job 1 (experiments=bad seed=2)" in done.out
    assert families(place) == []


def test_several_sweeps_at_once_keep_apart(place: Path) -> None:
    words = ("-m", "experiments=bad", "trainer.epochs=1", "tracking.uri=sqlite:///../mlflow.db")
    folders = {n: _within(place, n) for n in (1, 2, 3)}
    processes = {n: begin(*words, f"seed={n}1,{n}2", cwd=folder) for n, folder in folders.items()}
    for n, process in processes.items():
        ended(process, folders[n])
    found = families(place)
    assert [f.statuses for f in found] == [["FINISHED"] * 2] * 3
    seeds = sorted(tuple(job.data.params["seed"] for job in f.jobs) for f in found)
    assert seeds == [("11", "12"), ("21", "22"), ("31", "32")]


def _within(place: Path, number: int) -> Path:
    """A working directory of its own."""
    shutil.copytree(place / "experiments", place / str(number) / "experiments")
    return place / str(number)


def test_a_secret_that_a_job_needs_is_typed_again(place: Path) -> None:
    study, code = place / "experiments" / "bad.yaml", place / "experiments" / "bad.py"
    study.write_text(study.read_text().replace('seed: "${seed}"', 'seed: "${seed}", token: hunter2hunter2'))
    takes = 'seed: int = 0, token: str = ""):\n        assert token == "hunter2hunter2", token'
    code.write_text(code.read_text().replace("seed: int = 0):", takes))
    words = ("-m", "experiments=bad", "seed=1,2", plan("1:once"))
    runner(*words, cwd=place, code=1)
    refused = runner("resume", "last", cwd=place, code=2)
    assert "model.layers.bad.experiments.bad.Fails.token is a secret and in no record" in refused.err
    runner(*words, "sweep.resume=last", cwd=place)
    assert family(place).statuses == ["FINISHED"] * 2


def test_what_was_trained_already_is_reused_if_nothing_has_changed(place: Path) -> None:
    arrays(place)
    words = ("experiments=bad", "trainer.epochs=1")
    single = runner(*words, "seed=3", cwd=place).run_id
    runner("-m", *words, "seed=1,2", cwd=place)
    first = family(place)
    done = runner("-m", *words, "seed=1,2,3,4", "sweep.reuse=true", cwd=place)
    second = families(place)[1]
    old = [*(job.info.run_id for job in first.jobs), single]
    assert [job.data.tags["sweep.job"] for job in second.jobs] == ["3"], "only seed=4 is run"
    assert [line["run_id"] for line in second.table] == [*old, second.jobs[0].info.run_id]
    assert [line["valid/loss"] for line in second.table][:2] == [line["valid/loss"] for line in first.table]
    assert json.loads(second.parent.data.tags["sweep.reused"]) == {f"job {n}": run for n, run in enumerate(old)}
    assert "3 are FINISHED already, 3 of them by runs that are reused" in done.out
    assert second.parent.info.status == "FINISHED"


@pytest.mark.parametrize("change", ["data", "module", "setting", "not asked", "failed"])
def test_what_is_not_the_same_is_not_reused(change: str, place: Path) -> None:
    arrays(place)
    words = ["-m", "experiments=bad", "seed=1,2", "trainer.epochs=1"]
    runner(
        *words, *(["trainer.epochs=3", plan("1:raise", "2:raise")] if change == "failed" else []), cwd=place, code=None
    )
    if change == "data":
        np.save(place / "y.npy", np.zeros((64, 1), "float32"))
    if change == "module":
        with (place / "experiments" / "bad.py").open("a") as file:
            file.write("\n# changed\n")
    further = {"setting": ["optimizer.lr=0.2"], "failed": ["trainer.epochs=3", plan("1:raise", "2:raise")]}
    reuse = [] if change == "not asked" else ["sweep.reuse=true"]
    runner(*words, *further.get(change, []), *reuse, cwd=place, code=None)
    assert [len(found.jobs) for found in families(place)] == [2, 2]
    assert not any("sweep.reused" in found.parent.data.tags for found in families(place))


def at_once(folder: Path, count: int) -> str:
    """What is wrong with so many workers at once on a store that does not exist; "" if nothing is."""
    furnish(folder)
    seeds = f"seed={','.join(map(str, range(count)))}"
    workers = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}")
    done = runner("-m", "experiments=bad", seeds, "trainer.epochs=1", *workers, cwd=folder, code=None)
    names = [e.name for e in client(folder).search_experiments() if e.name != "Default"]
    found = [(f.parent.info.status, f.statuses) for f in families(folder)]
    right = (done.code, names, found) == (0, ["bad"], [("FINISHED", ["FINISHED"] * count)])
    return "" if right else f"exit code {done.code}, experiments {names}, {found}\n{done.err[-2000:]}"


@pytest.mark.long
def test_several_workers_make_one_store(tmp_path: Path) -> None:
    assert at_once(tmp_path, 4) == ""


def figure(folder: Path) -> str:
    """Twenty times the same; a line for the README."""
    bad = []
    for number in range(20):
        place = folder / str(number)
        place.mkdir()
        bad += [told] if (told := at_once(place, 8)) else []
        shutil.rmtree(place)
    lines = "".join(f"; {line}" for line in bad)
    return f"8 joblib workers on a store that does not exist: {20 - len(bad)} of 20 sweeps as promised{lines}"


def test_a_sweep_whose_server_goes_away_says_what_it_knows(empty_store: Path, tmp_path: Path, place: Path) -> None:
    server = Server(empty_store, tmp_path)
    server.start()
    try:
        server.wait()
        words = ("-m", "experiments=bad", "seed=1,2,3", "checkpoint.every=1", plan("1:wait"))
        process = begin(*words, f"tracking.uri={server.uri}", cwd=place)
        until((place / "killed").exists, "for the first job")
        server.kill()
        (place / "go").touch()
        done = ended(process, place, code=1)
    finally:
        server.kill()
    assert done.last.split()[2] == "FAILED"
    assert " best=none" not in done.last, "the first job was trained"
    assert "FAILED  job 1  seed=2  ConfigError: tracking.uri: no run can be made in" in done.out
    assert "in this directory: runner sync" in done.out
    assert "runner sync" in done.err
