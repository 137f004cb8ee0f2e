"""A job whose process gives no answer: what is said of it is what the store has."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from runner.sweeps.manifest import Job
from runner.sweeps.report import rows
from runner.sweeps.run import job as jobs
from runner.sweeps.run import lost
from runner.sweeps.run.job import SweepInfo
from runner.tracking.store import liveness, reconcile, stores
from tests.conftest import settings

WHY = "its process was ended by SIGKILL"


@pytest.fixture
def client(store: str) -> MlflowClient:
    return stores.open_store(store)


@pytest.fixture
def told(store: str, client: MlflowClient) -> SweepInfo:
    tags = reconcile.tags()
    parent = client.create_run(stores.experiment(client, store, "study").experiment_id, tags=tags).info.run_id
    return SweepInfo(parent, "study", "valid/loss", store, tags[reconcile.PROCESS])


@pytest.fixture
def job(store: str) -> Job:
    config = dataclasses.asdict(settings())
    config["tracking"]["uri"] = store
    return Job(3, ["seed=1"], {"seed": "1"}, config)


def begun(client: MlflowClient, told: SweepInfo, process: dict[str, Any] | None = None) -> str:
    """A run of the job, as its process had it when it died."""
    tags = {rows.PARENT: told.parent, rows.JOB: "3", reconcile.PROCESS: json.dumps(process or liveness.process())}
    return str(client.create_run(client.get_run(told.parent).info.experiment_id, tags=tags).info.run_id)


def test_one_that_has_no_run_gets_one_that_says_why(client: MlflowClient, told: SweepInfo, job: Job) -> None:
    found = lost.outcome(job, told, WHY)
    run = client.get_run(found.run_id)
    assert (found.status, run.info.status) == ("FAILED", "FAILED")
    assert found.reason == run.data.tags[rows.REASON] == f"ProcessLost: {WHY}"
    assert (run.data.tags[rows.PARENT], run.data.tags[rows.JOB]) == (told.parent, "3")


@pytest.mark.parametrize("where", ["here", "on another machine"])
def test_one_that_was_at_work_is_killed(where: str, client: MlflowClient, told: SweepInfo, job: Job) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    gone = {**liveness.process(), "pid": process.pid, "start": "1"}
    process.wait()
    run_id = begun(client, told, gone if where == "here" else {**gone, "machine": "another"})
    found = lost.outcome(job, told, WHY)
    assert (found.run_id, found.status, found.reason) == (run_id, "KILLED", WHY)
    assert client.get_run(run_id).info.status == "KILLED"
    assert client.get_run(run_id).data.tags[rows.REASON] == WHY


def test_one_that_has_come_to_its_end_keeps_it(client: MlflowClient, told: SweepInfo, job: Job) -> None:
    run_id = begun(client, told)
    client.log_metric(run_id, "valid/loss", 0.25, step=4)
    client.set_terminated(run_id, "FINISHED")
    found = lost.outcome(job, told, WHY)
    assert (found.run_id, found.status, found.value, found.reason) == (run_id, "FINISHED", 0.25, "")


def test_one_that_is_at_work_after_all_is_waited_for(client: MlflowClient, told: SweepInfo, job: Job) -> None:
    """submitit's own process was killed, and not the job's."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1500)"])
    try:
        own = {**liveness.process(), "pid": process.pid, "start": liveness._start(process.pid)}
        run_id = begun(client, told, own)
        lost.PAUSE, pause = 0.0, lost.PAUSE
        asked = []
        child, rows.child = rows.child, lambda *words: asked.append(words) or _asked(process, len(asked), child, words)
        found = lost.outcome(job, told, WHY)
    finally:
        rows.child, lost.PAUSE = child, pause
        process.kill()
        process.wait()
    assert (len(asked), found.run_id, found.status) == (3, run_id, "KILLED")


def _asked(process: Any, times: int, child: Any, words: Any) -> Any:
    if times == 3:
        process.kill()
        process.wait()
    return child(*words)


def test_a_store_that_does_not_answer_stops_no_sweep(told: SweepInfo, job: Job) -> None:
    found = lost.outcome(job, dataclasses.replace(told, uri="http://127.0.0.1:9"), WHY)
    assert (found.status, found.undelivered) == ("KILLED", True)
    assert found.reason.startswith(f"{WHY}; and the store does not answer: ")


def test_a_job_has_one_run_however_often_its_launcher_tries(
    client: MlflowClient, told: SweepInfo, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray and submitit begin a job again whose process has gone."""
    gone = {**liveness.process(), "start": "1"}
    run_id = begun(client, told, gone)
    monkeypatch.setattr(jobs, "run", lambda job, told, confirm: job.run_id)
    assert jobs.elsewhere(job, told) == run_id, "it goes on in the run that is there"
    alive = begun(client, told)
    outcome = jobs.elsewhere(job, told)
    assert (outcome.run_id, outcome.status) == (alive, "KILLED")
    assert "another process is at work at seed=1" in outcome.reason


@pytest.mark.parametrize("now", ["the sweep has ended", "another process has it", "the same process has it"])
def test_a_job_that_is_given_up_while_its_process_prepares_does_not_begin(
    now: str, store: str, client: MlflowClient, told: SweepInfo, job: Job, experiments: Path
) -> None:
    """Its launcher was killed, and it was not: a resumed sweep may have begun the job again by then."""
    text = f"""
from mlflow import MlflowClient
from runner.data.line import line

def meanwhile(**arguments):
    client = MlflowClient({store!r})
    if {now == "the sweep has ended"}:
        client.set_terminated({told.parent!r}, "FAILED")
    elif {now == "another process has it"}:
        experiment = client.get_run({told.parent!r}).info.experiment_id
        client.create_run(experiment, tags={{"mlflow.parentRunId": {told.parent!r}, "sweep.job": "3"}})
    return line(points=20, valid=10)
"""
    (experiments / "slow.py").write_text(text)
    job.config["data"] = {"name": "experiments.slow.meanwhile"}
    found = jobs.elsewhere(job, told)
    runs = client.search_runs([client.get_run(told.parent).info.experiment_id], "tags.`sweep.job` = '3'")
    if now == "the same process has it":
        assert (found.status, len(runs)) == ("FINISHED", 1)
    else:
        assert (found.status, len(runs)) == ("KILLED", int(now == "another process has it"))
        assert "is not run by" in found.reason
