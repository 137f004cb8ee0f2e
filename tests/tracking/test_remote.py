"""Artifacts in a store of their own that goes away while the tracking store stays: nothing is lost, and sync works."""

import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings.errors import ConfigError, Unreachable
from runner.tracking import recording
from runner.tracking.read import recall
from runner.tracking.store import stores, transfer
from runner.tracking.write import spool, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Artifacts, Served, Snapshot, Step
from runner.training.machine.signals import Interrupted
from tests.support import command, strange
from tests.support.line import S3, Line, away, environment
from tests.support.strange import Repository
from tests.support.sweeping import until

pytest.importorskip("moto", reason="an S3 to test with: pip install -e '.[test]'")


@pytest.fixture
def remote(store: str, line: Line) -> str:
    """A tracking store whose experiment `tests` keeps its artifacts in S3."""
    stores.open_store(store).create_experiment("tests", artifact_location="s3://runs/tests")
    return store


def checkpoint(folder: Path, step: int, name: str = "last") -> Snapshot:
    place = folder / f"{name}-{step}"
    place.mkdir()
    (place / "weights").write_text(f"of step {step}")
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot(name, step, place)


def predictions(folder: Path) -> Artifacts:
    place = folder / "kept"
    place.mkdir()
    (place / "predictions").write_text("1 2 3")
    return Artifacts(place)


def train(told: Any, folder: Path, steps: range) -> None:
    """Tell of steps and, after the last of them, of checkpoints."""
    for step in steps:
        told.record(Step(step, torch.tensor(float(step))))
    told.record(checkpoint(folder, steps[-1]))
    told.record(checkpoint(folder, steps[-1], "best"))


def steps(uri: str, run_id: str) -> list[int]:
    return [point.step for point in stores.open_store(uri).get_metric_history(run_id, "train/loss")]


WHOLE = {
    "a.txt": b"a",
    "checkpoints/last-10/weights": b"of step 10",
    "checkpoints/last-20/weights": b"of step 20",
    "checkpoints/best-20/weights": b"of step 20",
    "predictions": b"1 2 3",
}


def assert_whole(uri: str, s3: S3, run_id: str) -> None:
    files = {name: content for name, content in s3.files(run_id).items() if not name.endswith(".json")}
    assert files == WHOLE
    assert steps(uri, run_id) == list(range(1, 21))
    run = stores.open_store(uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["checkpoint.last"] == "checkpoints/last-20"
    assert spool.folders(uri) == []


def test_a_store_of_artifacts_that_is_away_for_two_seconds_loses_nothing(
    remote: str, s3: S3, line: Line, tmp_path: Path
) -> None:
    with recording.recording(remote, "tests", None, {}, {"seed": "0"}, {"a.txt": "a"}) as told:
        train(told, tmp_path, range(1, 11))
        told.drain()
        with away(line, "refuse", 2):
            train(told, tmp_path, range(11, 21))
            told.drain()
            told.record(predictions(tmp_path))
            told.drain()
    assert_whole(remote, s3, told.run_id)


def left_behind(uri: str, line: Line, folder: Path, mode: str) -> tuple[str, str]:
    """The id of a run whose store of artifacts goes away for good, and what is said of it."""
    run_id = ""
    try:
        with recording.recording(uri, "tests", None, {}, {"seed": "0"}, {"a.txt": "a"}) as told:
            run_id = told.run_id
            train(told, folder, range(1, 11))
            told.drain()
            line.mode = mode
            train(told, folder, range(11, 21))
            told.record(predictions(folder))
            told.drain()
    except Undelivered as error:
        return run_id, str(error)
    raise AssertionError("it was delivered")


@pytest.mark.parametrize("mode", ["refuse", "503", "403"])
def test_what_a_store_of_artifacts_does_not_take_is_in_the_spool_and_synchronized(
    remote: str, s3: S3, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(tracker, "CLOSING", 0.1)
    run_id, message = left_behind(remote, line, tmp_path, mode)
    assert f"run {run_id} is FINISHED, but the store does not have all of its record: " in message
    assert "runner sync" in message
    shutil.rmtree(tmp_path / "kept")  # as the run does when it is closed
    [folder] = spool.folders(remote)
    content = {path.read_text() for path in folder.rglob("*") if path.parent.parent.name == "files"}
    assert {"of step 20", "1 2 3"} <= content
    away = settle(folder)
    assert away.undelivered
    assert "\n" not in away.message
    assert {"refuse": "", "503": "SlowDown", "403": "ExpiredToken"}[mode] in away.message
    line.mode = "pass"
    assert not settle(folder).undelivered
    assert_whole(remote, s3, run_id)


def test_were_all_other_exceptions_refusals_a_busy_store_would_be_said_to_refuse_the_weights(
    remote: str, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: botocore's exceptions are no OSError."""
    monkeypatch.setattr(stores, "is_refusal", lambda error: not isinstance(error, OSError))
    run_id, message = left_behind(remote, line, tmp_path, "503")
    assert f"run {run_id} is FAILED: the store refuses a part of its record" in message


@pytest.fixture
def of_its_kind(store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking store whose experiment `tests` keeps its artifacts in a store of a kind of its own."""
    monkeypatch.setattr(Repository, "away", None)
    monkeypatch.setattr(tracker, "CLOSING", 0.0)
    return strange.create(store)


@pytest.mark.parametrize(
    "error",
    [strange.Strange("(AuthenticationFailed) Server failed\nto authenticate"), RuntimeError("x"), KeyError("blob"),
     TypeError(), ValueError("I/O on closed file"), ImportError("no pyarrow"), FileNotFoundError("/mnt/hdfs")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_exception_of_any_kind_keeps_the_files(of_its_kind: str, tmp_path: Path, error: Exception) -> None:
    def broken() -> None:
        with recording.recording(of_its_kind, "tests", None, {}, {}, {"a.txt": "a"}) as told:
            Repository.away = error
            train(told, tmp_path, range(1, 11))

    with pytest.raises(Undelivered, match="runner sync"):
        broken()
    [folder] = spool.folders(of_its_kind)
    left = settle(folder)
    assert left.undelivered
    assert left.message
    assert "\n" not in left.message
    Repository.away = None
    assert not settle(folder).undelivered
    artifacts = strange.place(of_its_kind) / folder.name / "artifacts" / "checkpoints"
    assert (artifacts / "last-10" / "weights").read_text() == "of step 10"
    assert (artifacts / "best-10" / "weights").read_text() == "of step 10"


def test_deleting_an_old_checkpoint_takes_no_other_along(of_its_kind: str, tmp_path: Path) -> None:
    with recording.recording(of_its_kind, "tests", None, {}, {}, {}) as told:
        told.record(checkpoint(tmp_path, 1, "best"))
        told.drain()
        told.record(checkpoint(tmp_path, 10, "best"))
    artifacts = strange.place(of_its_kind) / told.run_id / "artifacts" / "checkpoints"
    assert (artifacts / "best-10" / "weights").read_text() == "of step 10"
    assert not list(artifacts.glob("best-1/*"))
    # Negative control: this kind of store would have deleted both.
    location = stores.open_store(of_its_kind).get_run(told.run_id).info.artifact_uri
    Repository(location).delete_artifacts("checkpoints/best-1")
    assert not (artifacts / "best-10").exists()


def test_a_checkpoint_that_may_not_be_deleted_holds_nothing_up(
    of_its_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise strange.Strange("AccessDenied when calling DeleteObjects")

    monkeypatch.setattr(Repository, "delete_artifacts", refuse)
    with recording.recording(of_its_kind, "tests", None, {}, {}, {}) as told:
        told.record(checkpoint(tmp_path, 1, "best"))
        told.record(checkpoint(tmp_path, 2, "best"))
    assert [row.status for row in stores.rows(of_its_kind)] == ["FINISHED"]


def test_an_mlflow_model_that_is_sent_late_is_logged_once(of_its_kind: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")

    def broken() -> None:
        with recording.recording(of_its_kind, "tests", None, {}, {}, {}) as told:
            Repository.away = strange.Strange("gone")
            told.record(Served(7, tmp_path / "model"))
            told.drain()

    with pytest.raises(Undelivered, match="is FINISHED"):
        broken()
    Repository.away = None
    [folder] = spool.folders(of_its_kind)
    assert "FINISHED" in settle(folder).message
    client = stores.open_store(of_its_kind)
    run = client.get_run(folder.name)
    [model] = client.search_logged_models([run.info.experiment_id])
    assert run.data.tags["runner.logged_model"] == model.model_uri == f"models:/{model.model_id}"
    assert run.data.tags["runner.logged_model.checkpoint"] == "best, step 7"
    assert str(model.status) == "READY"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    [path] = strange.place(of_its_kind).rglob("MLmodel")
    assert path.read_text() == "flavors: {}"


def test_a_package_that_is_missing_is_said_before_work_starts(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.tracking.store import first_files as packages

    monkeypatch.setattr(packages, "_usable", set())
    monkeypatch.setitem(sys.modules, "boto3", None)
    from mlflow.store.artifact import s3_artifact_repo

    s3_artifact_repo._cached_get_s3_client.cache_clear()
    with (
        pytest.raises(ConfigError, match=r"^tracking\.uri: it keeps artifacts in s3:, which needs the package boto3"),
        recording.recording(remote, "tests", None, {}, {}, {}),
    ):
        raise AssertionError
    assert stores.rows(remote) == []
    run = stores.open_store(remote).create_run(
        stores.experiment(stores.open_store(remote), remote, "tests").experiment_id
    )
    with pytest.raises(ConfigError, match="needs the package boto3"):
        recall.text(remote, run.info.run_id, "config.yaml")


def test_an_interrupted_run_leaves_a_transfer_that_hangs(
    remote: str, s3: S3, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "GRACE", 0.2)
    run_id = ""

    def interrupted() -> None:
        nonlocal run_id
        with recording.recording(remote, "tests", None, {}, {}, {"a.txt": "a"}) as told:
            run_id = told.run_id
            train(told, tmp_path, range(1, 11))
            told.drain()
            line.mode = "hang"
            train(told, tmp_path, range(11, 21))
            told.record(predictions(tmp_path))
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted) as error:
        interrupted()
    assert "runner sync" in str(error.value.__notes__)
    monkeypatch.setattr(transfer, "_left", False)  # this process does not end here
    line.mode = "pass"
    [folder] = spool.folders(remote)
    assert "KILLED" in settle(folder).message
    assert s3.files(run_id)["checkpoints/last-20/weights"] == b"of step 20"


def test_a_second_interruption_while_a_run_waits_for_its_store_loses_nothing(
    remote: str, s3: S3, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "GRACE", 0.2)
    before = signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(Interrupted(signal.SIGINT)))

    def waiting() -> None:
        with recording.recording(remote, "tests", None, {}, {}, {}) as told:
            line.mode = "hang"
            train(told, tmp_path, range(1, 11))
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()

    try:
        with pytest.raises(Undelivered, match="is FINISHED"):
            waiting()
    finally:
        signal.signal(signal.SIGUSR1, before)
    monkeypatch.setattr(transfer, "_left", False)
    line.mode = "pass"
    [folder] = spool.folders(remote)
    assert "FINISHED" in settle(folder).message
    assert s3.files(folder.name)["checkpoints/last-10/weights"] == b"of step 10"


# Whole commands


def test_a_killed_run_whose_artifacts_were_away_is_delivered_by_sync_and_continued(
    remote: str, s3: S3, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = s3.names()
    words = ["experiments=linear_regression", "plots=[]", "tracking.experiment=tests", "checkpoint.every=1"]
    env = environment(line)  # a forked command has that of the process that it is forked from
    process = command.begin(*words, "trainer.epochs=1000000", cwd=tmp_path, env=env)
    until(lambda: any("last-" in name for name in s3.names() - known), "for a checkpoint in the store")
    run_id = next(iter(s3.names() - known)).split("/")[1]
    line.mode = "refuse"
    folder = tmp_path / ".runner" / "spool" / run_id
    until(lambda: list(folder.glob("files/*/state_dict.pt")), "for a checkpoint in the spool")
    os.kill(process.pid, signal.SIGKILL)
    command.ended(process, tmp_path, -signal.SIGKILL)
    left = command.runner("sync", cwd=tmp_path, env=env, code=1)
    assert f"run {run_id}: not delivered: " in left.out
    assert len(left.out.splitlines()) == 1
    assert left.err == ""
    line.mode = "pass"
    settled = settle(folder)
    assert not settled.undelivered, settled.message
    last = int(stores.open_store(remote).get_run(run_id).data.tags["checkpoint.last.step"])
    recorded = steps(remote, run_id)
    assert recorded == list(range(1, max(recorded) + 1))
    assert last >= max(recorded) - 1
    # Continued, and told to stop while a transfer hangs.
    process = command.begin("resume", run_id, "trainer.epochs=1000001", cwd=tmp_path, env=env)
    until(lambda: s3.last(run_id) > last, "for a newer checkpoint in the store")
    line.mode = "hang"
    os.kill(process.pid, signal.SIGTERM)
    done = command.ended(process, tmp_path, 128 + signal.SIGTERM)
    assert f"continues after step {last} " in done.out
    assert "runner sync" in done.err
    line.mode = "pass"
    assert "KILLED" in settle(folder).message
    last = int(stores.open_store(remote).get_run(run_id).data.tags["checkpoint.last.step"])
    assert steps(remote, run_id) == list(range(1, last + 1))
    assert s3.last(run_id) == last
    # And read from there, which fails in one line and otherwise waits a little.
    with away(line, "refuse", 1):
        assert recall.text(remote, run_id, "config.yaml")
    line.mode = "refuse"
    monkeypatch.setattr("runner.tracking.store.artifacts.AGAIN", ())
    done = command.runner("evaluate", run_id, cwd=tmp_path, env=env, code=1)
    assert re.fullmatch(r"[^\n]* of run \w+ cannot be fetched: [^\n]*\n", done.err)
    with pytest.raises(Unreachable):
        recall.text(remote, run_id, "config.yaml")
