"""Records of many runs that are opened, delivered and closed together are those of runs that are recorded alone."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.tracking import opening, recording
from runner.tracking.store import reconcile, stores
from runner.tracking.write import group, spool, together
from runner.tracking.write import sync as settling
from runner.tracking.write.delivery import Delivery
from runner.tracking.write.group import Group
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.tracker import Tracker
from runner.training.events import Artifacts, Epoch, Event, Finished, Snapshot, Step
from tests.support.command import HANGS

PARAMS = {"seed": "0", "optimizer.lr": "0.1"}
TAGS = {"mlflow.user": "me", "mlflow.source.name": "runner", "about": "a test"}
FILES: dict[str, str | bytes] = {"config.yaml": "seed: 0\n", "code/experiments/mine.py": b"pass\n"}
#: Columns and tags that no two runs have in common.
OWN_COLUMNS = ("run_uuid", "name", "start_time", "end_time", "artifact_uri", "timestamp")
OWN_TAGS = ("mlflow.runName", reconcile.HEARTBEAT)


def openings(count: int) -> list[opening.Opening]:
    return [opening.Opening(f"run {i}", dict(TAGS), dict(PARAMS), dict(FILES)) for i in range(count)]


def opened(store: str, count: int, gathered: Group | None = None) -> list[Tracker]:
    trackers = opening.opened(store, "many", openings(count), gathered or Group())
    assert trackers is not None
    return trackers


def checkpoint(folder: Path, name: str, step: int) -> Snapshot:
    place = folder / f"{name}-{step}"
    place.mkdir(parents=True)
    (place / "state_dict.pt").write_text(f"{name} of {step}")
    digest = hashlib.sha256(f"{name} of {step}".encode()).hexdigest()
    (place / "sha256.json").write_text(json.dumps({"state_dict.pt": digest}))
    return Snapshot(name, step, place)


def events(folder: Path) -> list[Event]:
    """What happens in a run: two epochs, checkpoints of which one replaces another, files, test values."""
    happened: list[Event] = []
    for epoch in (1, 2):
        happened += [Step(step, torch.tensor(1.0 / step)) for step in range(5 * epoch - 4, 5 * epoch + 1)]
        happened += [Epoch(epoch, 5 * epoch, {"valid/loss": 0.5 / epoch, "epoch": epoch})]
        happened += [checkpoint(folder, name, 5 * epoch) for name in ("last", "best")]
    (folder / "files" / "plots").mkdir(parents=True)
    (folder / "files" / "predictions.npy").write_text("numbers")
    (folder / "files" / "plots" / "curve.png").write_text("a curve")
    return [*happened, Artifacts(folder / "files"), Finished(10, {"test/loss": 0.25}, "done", {"best.step": "10"})]


def content(store: str, run_id: str) -> dict[str, Any]:
    """All rows of a run, without what no two runs have in common, and its files."""
    path = stores.sqlite_path(store)
    assert path is not None
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(path)) as file:
        file.row_factory = sqlite3.Row
        for table in ("runs", "params", "tags", "metrics", "latest_metrics"):
            rows = [dict(row) for row in file.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", [run_id])]
            rows = [row for row in rows if row.get("key") not in OWN_TAGS]
            assert all("name" not in row or row["name"] for row in rows)
            found[table] = sorted(str({k: v for k, v in row.items() if k not in OWN_COLUMNS}) for row in rows)
        [uri] = [row["artifact_uri"] for row in file.execute("SELECT * FROM runs WHERE run_uuid = ?", [run_id])]
    folder = Path(uri.removeprefix("file://"))
    files = (file for file in folder.rglob("*") if file.is_file())
    return {**found, "files": {str(file.relative_to(folder)): file.read_bytes() for file in files}}


def alone(store: str, folder: Path) -> str:
    with recording.recording(store, "many", "alone", dict(TAGS), dict(PARAMS), dict(FILES)) as tracker:
        for event in events(folder):
            tracker.record(event)
    return tracker.run_id


def ended(trackers: list[Tracker]) -> list[Exception | None]:
    """End the runs together. Returns the error of each."""
    for tracker in trackers:
        tracker.end("FINISHED", "")
    errors: list[Exception | None] = []
    for tracker in trackers:
        try:
            tracker.close("FINISHED", "")
            errors.append(None)
        except Exception as error:
            errors.append(error)
    return errors


def recorded(trackers: list[Tracker], folder: Path, steps_alone: bool = False) -> list[Exception | None]:
    """Record the events of all runs in turns, and end the runs together."""
    for moment in zip(*(events(folder / str(i)) for i in range(len(trackers))), strict=True):
        for tracker, event in zip(trackers, moment, strict=True):
            if isinstance(event, Step) or not steps_alone:
                tracker.record(event)
    return ended(trackers)


def test_records_of_many_runs_are_those_of_runs_alone(store: str, tmp_path: Path) -> None:
    trackers = opened(store, 5)
    assert recorded(trackers, tmp_path / "many") == [None] * 5
    expected = content(store, alone(store, tmp_path / "alone"))
    assert set(expected["files"]) > {
        "config.yaml",
        "checkpoints/last-10/state_dict.pt",
        "checkpoints/last-5/sha256.json",
    }
    for tracker in trackers:
        assert content(store, tracker.run_id) == expected
    assert spool.folders(store) == []


def test_all_of_them_are_delivered_together(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the tests below: nothing is delivered by itself unless something is wrong."""
    monkeypatch.setattr(Delivery, "deliver", None)
    assert recorded(opened(store, 3), tmp_path) == [None] * 3


def test_runs_that_begin_and_end_within_one_round_are_not_left_waiting(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without heartbeats nothing would wake the thread for a run that it has overlooked."""
    monkeypatch.setattr(reconcile, "BEAT", 1e6)
    begun, ready, plain = threading.Event(), threading.Event(), Group._next

    def late(group: Group, members: Any) -> Any:
        begun.set()
        assert ready.wait(HANGS)
        return plain(group, members)

    monkeypatch.setattr(Group, "_next", late)
    together = Group()
    trackers = opened(store, 1, together)
    assert begun.wait(HANGS)
    trackers += opened(store, 2, together)
    for tracker in trackers:
        tracker.end("FINISHED", "")
    ready.set()
    ends = [threading.Thread(target=one.close, args=("FINISHED", ""), daemon=True) for one in trackers]
    for thread in ends:
        thread.start()
    for thread in ends:
        thread.join(HANGS)
    assert [thread.is_alive() for thread in ends] == [False] * 3


def busy(*_: Any) -> Any:
    raise sqlite3.OperationalError("database is locked")


@pytest.mark.parametrize("part", ["_publish", "_insert", "_share"])
def test_what_cannot_be_delivered_together_is_delivered_run_by_run(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    trackers = opened(store, 3)
    monkeypatch.setattr(together, part, busy)
    assert recorded(trackers, tmp_path / "many") == [None] * 3
    expected = content(store, alone(store, tmp_path / "alone"))
    assert [content(store, tracker.run_id) == expected for tracker in trackers] == [True] * 3


def test_a_run_that_is_deleted_meanwhile_is_the_only_one_that_fails(store: str, tmp_path: Path) -> None:
    trackers = opened(store, 5)
    client = trackers[0].client
    client.delete_run(trackers[2].run_id)
    errors = recorded(trackers, tmp_path, steps_alone=True)
    assert [isinstance(error, Undelivered) for error in errors] == [False, False, True, False, False]
    assert [client.get_run(t.run_id).info.status for t in trackers if t is not trackers[2]] == ["FINISHED"] * 4
    client.restore_run(trackers[2].run_id)
    [left] = spool.folders(store)
    assert not settling.settle(left).undelivered
    assert content(store, trackers[2].run_id)["metrics"] == content(store, trackers[1].run_id)["metrics"]


def test_a_store_that_is_away_at_the_end_gets_the_rest_from_the_spools(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.tracking.write import tracker

    monkeypatch.setattr(tracker, "CLOSING", 0.1)
    trackers, path = opened(store, 3), stores.sqlite_path(store)
    assert path is not None
    path.rename(tmp_path / "away.db")
    errors = recorded(trackers, tmp_path / "many")
    (tmp_path / "away.db").rename(path)
    assert all(isinstance(error, Undelivered) for error in errors), errors
    assert all(not settling.settle(folder).undelivered for folder in spool.folders(store))
    expected = content(store, alone(store, tmp_path / "alone"))
    assert [content(store, one.run_id)["metrics"] == expected["metrics"] for one in trackers] == [True] * 3
    assert [content(store, one.run_id)["files"] == expected["files"] for one in trackers] == [True] * 3


KILLED = """
import sys, time
import torch
from runner.tracking import opening
from runner.tracking.write import group
from runner.training.events import Step

group.Group._deliver = lambda *_: None  # the store is never reached
runs = [opening.Opening(f"run {i}", {}, {}, {"a.txt": "a"}) for i in range(3)]
trackers = opening.opened(sys.argv[1], "many", runs, group.Group())
for step in range(1, 6):
    for tracker in trackers:
        tracker.record(Step(step, torch.tensor(1.0)))
for tracker in trackers:
    tracker._send()
print("ready", flush=True)
time.sleep(1500)
"""


def test_a_process_that_is_killed_leaves_spools_that_are_delivered(store: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, store], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        wait(lambda: sum((folder / "log.jsonl").stat().st_size > 100 for folder in spool.folders(store)) == 3)
        process.kill()
    folders = spool.folders(store)
    assert [settling.settle(folder).undelivered for folder in folders] == [False] * 3
    client = stores.open_store(store)
    for folder in folders:
        assert [p.step for p in client.get_metric_history(folder.name, "train/loss")] == [1, 2, 3, 4, 5]
        assert client.get_run(folder.name).info.status == "KILLED"


CUT = """
import os, sys
from pathlib import Path
from runner.tracking.write import together
from runner.tracking.write.group import Group
from tests.tracking import test_many_records as many

trackers = many.opened(sys.argv[1], 3, Group())
together._insert = lambda *_: os._exit(9)  # when the files are in the store
many.recorded(trackers, Path(sys.argv[2]))
"""


def test_a_process_that_is_killed_between_files_and_rows_leaves_what_is_delivered(store: str, tmp_path: Path) -> None:
    made = Path(tempfile.mkdtemp(prefix="runner-"))
    process = subprocess.run([sys.executable, "-c", CUT, store, str(made)], cwd=Path(__file__).parents[2])
    assert process.returncode == 9
    folders = spool.folders(store)
    assert not all((made / str(i) / "last-5").is_dir() for i in range(3)), "nothing was moved"
    assert [settling.settle(folder).undelivered for folder in folders] == [False] * 3
    expected = content(store, alone(store, tmp_path / "alone"))
    client = stores.open_store(store)
    for folder in folders:
        tags = client.get_run(folder.name).data.tags
        files = content(store, folder.name)["files"]
        name = tags["checkpoint.last"]
        assert files[f"{name}/state_dict.pt"] == expected["files"][f"{name}/state_dict.pt"]
    shutil.rmtree(made)


def test_runs_that_cannot_begin_leave_no_trace(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(store, 3)
    client = stores.open_store(store)
    home = client.get_experiment_by_name("many")
    assert home is not None
    assert client.search_runs([home.experiment_id]) == []
    assert spool.folders(store) == []


def test_heartbeats_of_many_runs_are_one_transaction(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Group()
    trackers = opened(store, 3, gathered)
    client = trackers[0].client
    before = [client.get_run(one.run_id).data.tags[reconcile.HEARTBEAT] for one in trackers]
    monkeypatch.setattr(group._Member, "_beat", None)
    monkeypatch.setattr(reconcile, "BEAT", 0.0)
    trackers[0].drain()

    def beaten() -> bool:
        now = [client.get_run(one.run_id).data.tags[reconcile.HEARTBEAT] for one in trackers]
        return all(one > other for one, other in zip(now, before, strict=True))

    wait(beaten)
    monkeypatch.undo()
    assert ended(trackers) == [None] * 3


def test_a_thread_that_breaks_fails_every_run_and_none_waits(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trackers = opened(store, 3)

    def breaks(*_: Any) -> Any:
        raise ValueError("injected")

    monkeypatch.setattr(Group, "_deliver", breaks)
    errors = recorded(trackers, tmp_path)
    assert all("injected" in f"{error} {getattr(error, '__cause__', '')}" for error in errors)
    monkeypatch.undo()
    statuses = {trackers[0].client.get_run(one.run_id).info.status for one in trackers}
    assert "FINISHED" not in statuses


def wait(met: Callable[[], bool]) -> None:
    end = time.monotonic() + HANGS
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)
