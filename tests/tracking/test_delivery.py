"""A tracking server that is down, hangs, loses answers or comes back: training goes on and nothing is lost."""

import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings.errors import ConfigError
from runner.tracking import recording
from runner.tracking.store import liveness, stores
from runner.tracking.write import spool
from runner.tracking.write.delivery import Delivery
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Artifacts, Epoch, Snapshot, Step
from runner.training.machine.signals import Interrupted
from tests.support import command
from tests.support.server import Proxy, Server


@pytest.fixture
def proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.chdir(tmp_path)  # where the spools go
    made = Proxy(server)
    yield made
    made.close()


def once(steps: range, keys: tuple[str, ...] = ("train/loss",)) -> list[tuple[str, int]]:
    return [(key, step) for key in sorted(keys) for step in steps]


def tell(tracker: Any, steps: range) -> None:
    for step in steps:
        tracker.record(Step(step, torch.tensor(float(step))))


def flush(tracker: Any, proxy: Proxy | None = None, times: int = 1) -> None:
    """Hand over what was told, and wait for so many requests."""
    before = proxy.requests if proxy else 0
    tracker._send()
    while proxy and proxy.requests < before + times:
        time.sleep(0.01)


def spools(folder: Path) -> list[Path]:
    return list((folder / ".runner" / "spool").glob("*/"))


def undelivered(proxy: Proxy, act: Callable[[Any], None]) -> Undelivered:
    """What is raised at the end of a run whose server goes when it has begun."""
    try:
        with recording.recording(proxy.uri, "tests", None, {}, {}, {}) as tracker:
            proxy.mode = "refuse"
            act(tracker)
    except Undelivered as error:
        return error
    raise AssertionError("it was delivered")


@pytest.mark.parametrize("mode", ["refuse", "hang", "500", "cut"])
def test_after_a_failure_every_point_is_there_once(server: Server, proxy: Proxy, tmp_path: Path, mode):
    with recording.recording(proxy.uri, "tests", None, {}, {"seed": "0"}, {"a.txt": "a"}) as tracker:
        tell(tracker, range(1, 11))
        flush(tracker, proxy)
        proxy.mode = mode
        tell(tracker, range(11, 21))
        flush(tracker, proxy)
        tell(tracker, range(21, 31))
        proxy.mode = "pass"
    assert server.points(tracker.run_id) == once(range(1, 31))
    assert sorted(proxy.points) == once(range(1, 31)), "no point was sent twice either"
    assert stores.open_store(server.uri).get_run(tracker.run_id).info.status == "FINISHED"
    assert spools(tmp_path) == []


def test_without_asking_first_points_are_sent_twice(proxy: Proxy, monkeypatch: pytest.MonkeyPatch):
    """Negative control: MLflow's own stores tell such points by their time, others do not."""
    monkeypatch.setattr(Delivery, "asks", property(lambda self: False, lambda self, value: None), raising=False)
    with recording.recording(proxy.uri, "tests", None, {}, {}, {}) as tracker:
        proxy.mode = "cut"
        tell(tracker, range(1, 11))
        flush(tracker, proxy)
        proxy.mode = "pass"
    assert sorted(proxy.points) == sorted(once(range(1, 11)) * 2)


def test_what_cannot_be_delivered_is_kept_and_synchronized(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("runner.tracking.write.tracker.CLOSING", 0.1)

    def checkpoint(step: int) -> Snapshot:
        folder = tmp_path / f"last-{step}"
        folder.mkdir()
        (folder / "weights").write_text(f"of step {step}")
        (folder / "sha256.json").write_text('{"weights": "0"}')
        piece = tmp_path / "run" / f"history-{step}" / "history" / f"{step}.pt"
        piece.parent.mkdir(parents=True)
        piece.write_text(f"up to step {step}")
        return Snapshot("last", step, folder, [piece.parent.parent])

    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "predictions").write_text("1 2 3")

    def train(tracker: Any) -> None:
        for step in (10, 20):
            tell(tracker, range(step - 9, step + 1))
            tracker.record(Epoch(step // 10, step, {"valid/loss": 0.5}))
            tracker.record(checkpoint(step))
        tracker.record(Artifacts(kept))

    error = undelivered(proxy, train)
    assert error.status == "FINISHED"
    assert "runner sync" in str(error)
    shutil.rmtree(kept)  # as the run does when it is closed
    shutil.rmtree(tmp_path / "run")
    [folder] = spools(tmp_path)
    assert settle(folder).undelivered, "the server is still away"
    proxy.mode = "pass"
    done = settle(folder)
    assert (done.undelivered, done.message) == (False, f"delivered to {proxy.uri}, FINISHED")
    assert spools(tmp_path) == []
    run_id = folder.name
    assert server.points(run_id) == [*once(range(1, 21)), ("valid/loss", 10), ("valid/loss", 20)]
    client = stores.open_store(server.uri)
    files = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    assert [(files / "history" / f"{step}.pt").read_text() for step in (10, 20)] == ["up to step 10", "up to step 20"]
    assert (files / "checkpoints" / "last-20" / "weights").read_text() == "of step 20"
    assert (files / "predictions").read_text() == "1 2 3"
    assert client.get_run(run_id).data.tags["checkpoint.last.step"] == "20"


def test_a_training_whose_server_stays_away_exits_with_1_and_sync_delivers(
    server: Server, proxy: Proxy, tmp_path: Path
):
    words = ["experiments=linear_regression", "plots=[]", "trainer.epochs=30"]
    failing = Proxy(server, after=14)  # enough to make the run and to put its first files
    done = command.runner(*words, f"tracking.uri={failing.uri}", cwd=tmp_path, code=1)
    failing.close()
    assert done.last.split()[2] == "FINISHED"
    assert done.err.strip().endswith("to deliver it, in this directory: runner sync")
    assert "Traceback" not in done.err
    assert len(spools(tmp_path)) == 1
    left = command.runner("sync", cwd=tmp_path, code=1)
    assert f"run {done.run_id}: not delivered: " in left.out
    synced = command.runner("sync", f"tracking.uri={proxy.uri}", cwd=tmp_path)
    assert synced.out.strip() == f"run {done.run_id}: delivered to {proxy.uri}, FINISHED"
    points = server.points(done.run_id)
    assert [step for key, step in points if key == "train/loss"] == list(range(1, 31))
    assert len(set(points)) == len(points)
    assert spools(tmp_path) == []


@pytest.mark.parametrize("mode", ["refuse", "hang", "500"])
def test_a_server_that_is_not_there_at_the_start_is_a_wrong_configuration(proxy: Proxy, mode):
    proxy.mode = mode
    with (
        pytest.raises(ConfigError, match=r"^tracking\.uri: no run can be made in"),
        recording.recording(proxy.uri, "tests", None, {}, {}, {}),
    ):
        raise AssertionError


@pytest.mark.parametrize("before", [True, False], ids=["known to hang", "hangs at the end"])
def test_a_server_that_hangs_does_not_keep_an_interrupted_run_for_long(
    server: Server, proxy: Proxy, tmp_path: Path, before: bool
):
    asked, proxy.hangs = 0, command.HANGS

    def interrupted() -> None:
        nonlocal asked
        with recording.recording(proxy.uri, "tests", None, {}, {}, {}) as tracker:
            tell(tracker, range(1, 11))
            flush(tracker, proxy)
            proxy.mode = "hang"
            tell(tracker, range(11, 21))
            if before:
                tracker._send()
                time.sleep(0.3)
            asked = proxy.requests
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted) as error:
        interrupted()
    assert proxy.requests - asked <= 1, "each takes 4 s at most, and 5 s are promised"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "4"
    assert "runner sync" in str(error.value.__notes__)
    proxy.mode = "pass"
    [left] = spools(tmp_path)
    run_id = left.name
    assert "KILLED" in settle(left).message
    assert server.points(run_id) == once(range(1, 21))


def test_a_spool_that_a_process_works_at_is_left_alone(store: str):
    with recording.recording(store, "tests", None, {}, {}, {}):
        [folder] = spool.folders(store)
        assert settle(folder).message == "its process is still at it"
    assert stores.rows(store)[0].status == "FINISHED"
    assert spool.folders(store) == []


def test_half_a_line_at_the_end_is_not_read_and_written_over(tmp_path: Path):
    taken = spool.take(tmp_path / "run")
    taken.append([{"points": [["a", 1.0, 0, 1]]}])
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"points": [["a", 2.')
    taken.release()
    again = spool.take(tmp_path / "run")
    again.append([{"end": "FINISHED"}])
    assert [entry for entry, _ in again.entries(0)] == [{"points": [["a", 1.0, 0, 1]]}, {"end": "FINISHED"}]
    again.release()


def test_a_large_spool_of_which_everything_was_delivered_begins_anew(store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "LARGE", 1000)
    with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
        for first in range(1, 2000, 100):
            tell(tracker, range(first, first + 100))
            flush(tracker)
    found = stores.open_store(store).get_metric_history(tracker.run_id, "train/loss")
    assert sorted(m.step for m in found) == list(range(1, 2001))


# Continuing a run


def continued(store: str) -> list[int]:
    """Steps 1 to 20, and after a crash 11 to 30 again; the steps that the store has afterwards."""
    with recording.recording(store, "tests", None, {}, {"seed": "0"}, {}) as tracker:
        tell(tracker, range(1, 21))
    with recording.recording(
        store, "", None, {"resumed": "1"}, {"seed": "1"}, {"b.txt": "b"}, tracker.run_id
    ) as tracker:
        client = stores.open_store(store)
        assert client.get_run(tracker.run_id).info.status == "RUNNING"
        tell(tracker, range(11, 31))
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.params, run.data.tags["resumed"]) == ("FINISHED", {"seed": "0"}, "1")
    assert [f.path for f in client.list_artifacts(tracker.run_id)] == ["b.txt"]
    assert len(stores.rows(store)) == 1
    return sorted(m.step for m in client.get_metric_history(tracker.run_id, "train/loss"))


def test_a_continued_run_has_every_point_once(store: str):
    assert continued(store) == list(range(1, 31))


def test_without_asking_first_a_continued_run_has_points_twice(store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Delivery, "asks", property(lambda self: False, lambda self, value: None), raising=False)
    assert continued(store) == sorted([*range(1, 31), *range(11, 21)])


def test_a_spool_left_behind_does_not_undo_what_a_later_process_has_done(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("runner.tracking.write.tracker.CLOSING", 0.1)
    here = liveness.process
    monkeypatch.setattr(
        "runner.tracking.store.liveness.process", lambda: {"host": "b", "pid": 1, "start": "1", "machine": "b"}
    )
    undelivered(proxy, lambda tracker: tell(tracker, range(1, 21)))
    [left] = spools(tmp_path)
    proxy.mode = "pass"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("runner.tracking.store.liveness.process", here)
    with recording.recording(proxy.uri, "", None, {}, {}, {}, left.name) as tracker:
        tell(tracker, range(11, 31))
        assert "is at work" in settle(left).message
    assert (
        settle(left).message == f"delivered to {proxy.uri}, FINISHED; only the points, since it was continued elsewhere"
    )
    assert server.points(tracker.run_id) == once(range(1, 31))


# Killed and restarted


def killed_and_restarted(server: Server, away: float) -> tuple[float, list[tuple[str, int]], int]:
    """Train over the server's death and return; the longest step in seconds, the rows in the store, the steps."""
    longest = step = 0
    with recording.recording(server.uri, "tests", None, {}, {}, {}) as tracker:

        def steps(seconds: float) -> None:
            nonlocal longest, step
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                before, step = time.monotonic(), step + 1
                tracker.record(Step(step, torch.tensor(float(step))))
                longest = max(longest, time.monotonic() - before)
                time.sleep(0.002)

        steps(1.5)
        server.kill()
        steps(away)
        server.start()
        steps(1.0)
        server.wait()
    return longest, server.points(tracker.run_id), step


def test_over_a_servers_death_training_goes_on_and_nothing_is_lost(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    _, points, steps = killed_and_restarted(server, 1.5)
    assert points == once(range(1, steps + 1))
    assert spools(tmp_path) == []


def figure_server_killed() -> str:
    """One line for the table of figures: the server is killed in mid-run and started again after 5 s."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        stores.open_store(f"sqlite:///{folder}/empty.db")
        with contextlib.closing(sqlite3.connect("empty.db")) as empty:
            empty.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        server = Server(Path(folder) / "empty.db", Path(folder))
        server.start()
        try:
            server.wait()
            longest, points, steps = killed_and_restarted(server, 5.0)
        finally:
            server.kill()
    twice, lost = len(points) - len(set(points)), steps - len(set(points))
    return (
        f"server killed and restarted after 5 s: {steps} steps, {lost} lost, {twice} twice, "
        f"training held up for {1000 * longest:.0f} ms at most"
    )
