"""A store that takes no artifacts is noticed before anything is trained, in one sentence, and leaves no run."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings.errors import ConfigError
from runner.tracking import recording
from runner.tracking.store import first_files, stores
from runner.tracking.write import spool
from runner.tracking.write.spool import Undelivered
from runner.training.events import Step
from runner.training.machine.signals import Interrupted
from tests.support import command, disk, strange
from tests.support.line import S3, Line
from tests.support.strange import Repository

pytest.importorskip("moto", reason="an S3 to test with: pip install -e '.[test]'")


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store has taken anything from this process, and none is asked again."""
    monkeypatch.setattr(first_files, "_taking", set())
    monkeypatch.setattr(first_files, "AGAIN", ())


def begun(uri: str, name: str = "tests", run_id: str | None = None) -> Any:
    return recording.recording(uri, name, None, {}, {"seed": "0"}, {"a.txt": "a"}, run_id)


def refused(uri: str, name: str = "tests", run_id: str | None = None) -> str:
    """What is said of a run that cannot begin."""
    before = stores.rows(uri)
    with pytest.raises(ConfigError) as error, begun(uri, name, run_id):
        raise AssertionError("it is trained")
    text = str(error.value)
    assert text.startswith("tracking.uri: artifacts cannot be kept in ")
    assert "\n" not in text
    assert "/tmp/" not in text.replace(str(stores.sqlite_path(uri).parent), "")  # type: ignore[union-attr]
    assert stores.rows(uri) == before, "no run is left, or it is as it was"
    assert spool.folders(uri) == []
    return text


def test_an_s3_that_takes_nothing_is_a_sentence(store: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.artifact import s3_artifact_repo

    client = stores.open_store(store)
    client.create_experiment("tests", artifact_location="s3://runs/tests")
    client.create_experiment("nowhere", artifact_location="s3://no-such-bucket/tests")
    assert "(NoSuchBucket)" in refused(store, "nowhere")
    line.mode = "403"
    assert "(ExpiredToken)" in refused(store)
    line.mode = "refuse"
    assert "s3://runs/tests/" in refused(store)
    line.mode = "pass"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    assert "credentials" in refused(store)


def test_a_right_one_costs_no_request_more(store: str, s3: S3, line: Line) -> None:
    """Its first file is what tells."""
    stores.open_store(store).create_experiment("tests", artifact_location="s3://runs/tests")
    line.of = b"PUT /"
    with begun(store) as told:
        pass
    assert s3.files(told.run_id) == {"a.txt": b"a"}
    assert line.times == 1


def test_a_store_that_goes_away_between_two_runs_of_a_process_is_waited_for(store: str) -> None:
    """The jobs of a sweep begin one after the other: what one may lose for a moment is no wrong configuration."""
    strange.create(store)
    with begun(store):
        pass
    Repository.away = OSError("away for a moment")
    with begun(store) as told:
        Repository.away = None
        told.record(Step(1, torch.tensor(0.5)))
    assert (strange.place(store) / told.run_id / "artifacts" / "a.txt").read_text() == "a"
    # So it is in a launcher's process, whose sweep has put files there.
    first_files._taking.clear()
    first_files.take_for_granted(stores.open_store(store).get_run(told.run_id))
    Repository.away = OSError("away for a moment")
    with begun(store) as told:
        Repository.away = None
    assert (strange.place(store) / told.run_id / "artifacts" / "a.txt").read_text() == "a"
    assert [row.status for row in stores.rows(store)] == ["FINISHED"] * 3


def test_a_store_that_is_back_in_a_moment_is_asked_again(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strange.create(store)
    monkeypatch.setattr(first_files, "AGAIN", (0.0,))
    Repository.away = OSError("away for a moment")
    monkeypatch.setattr(first_files.time, "sleep", lambda _: setattr(Repository, "away", None))
    with begun(store) as told:
        pass
    assert (strange.place(store) / told.run_id / "artifacts" / "a.txt").read_text() == "a"


def test_a_run_that_cannot_go_on_is_as_it_was(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strange.create(store)
    with begun(store) as told:
        told.record(Step(1, torch.tensor(0.5)))
    monkeypatch.setattr(first_files, "_taking", set())
    before = stores.open_store(store).get_run(told.run_id).info
    Repository.away = strange.Strange("Unauthorized")
    assert "Strange: Unauthorized" in refused(store, "", told.run_id)
    Repository.away = None
    now = stores.open_store(store).get_run(told.run_id).info
    assert (now.status, now.end_time) == (before.status, before.end_time)


def test_a_run_that_is_interrupted_before_it_begins_is_none(store: str) -> None:
    strange.create(store)
    Repository.away = Interrupted(signal.SIGINT)  # type: ignore[assignment]
    with pytest.raises(Interrupted), begun(store):
        raise AssertionError
    assert stores.rows(store) == []
    assert spool.folders(store) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(store: str, tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file")
    assert "Not a directory" in refused(store)
    (tmp_path / "mlruns").unlink()
    with disk.small(tmp_path / "mlruns") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        subprocess.run(["mount", "-o", "remount,ro", small.folder], check=True)
        assert "Read-only file system" in refused(store)


def test_without_the_look_a_run_would_be_trained_first(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    strange.create(store)
    monkeypatch.setattr(first_files, "put_first", lambda *_: False)
    monkeypatch.setattr("runner.tracking.write.tracker.CLOSING", 0.0)
    Repository.away = strange.Strange("Unauthorized")
    with pytest.raises(Undelivered), begun(store) as told:
        told.record(Step(1, torch.tensor(0.5)))
    assert len(spool.folders(store)) == 1


def test_a_sweep_ends_with_2_and_one_line_before_any_job(store: str, tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file")
    words = ("-m", "experiments=linear_regression", "trainer.epochs=2", "plots=[]", "seed=0,1")
    done = command.runner(*words, cwd=tmp_path, code=2)
    assert done.err.startswith("tracking.uri: artifacts cannot be kept in ")
    assert done.err.count("\n") == 1
    assert stores.rows(store) == []


@pytest.mark.parametrize("mistake", first_files.MISTAKES)
def test_a_mistake_in_a_program_is_no_wrong_setting(store: str, mistake: type[Exception]) -> None:
    """It is raised as it is, and not read as a store that takes no files, or that is away for a moment."""
    strange.create(store)
    Repository.away = mistake("ours")
    for _ in range(2):
        with pytest.raises(mistake, match="ours"), begun(store):
            raise RuntimeError("it is trained")
        elsewhere = f"{strange.place(store).as_uri().replace('file:', 'strange:')}/"
        first_files._taking.add(elsewhere)  # a store that has taken files before
    assert stores.rows(store) == []
    assert spool.folders(store) == []
