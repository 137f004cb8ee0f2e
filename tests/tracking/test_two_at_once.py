"""Two commands at one spool: nothing is delivered twice, nothing is lost, and each says what is so."""

import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import Timeout

from runner.commands import sync
from runner.settings import Settings, Tracking
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.tracking import recording
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import delivery, entries, marks, spool, spool_header, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import Settled, settle
from runner.training.events import Snapshot, Step
from tests.settings import test_durable
from tests.support import strange
from tests.support.strange import Repository

GONE = {**liveness.process(), "pid": 1, "start": "1"}


@pytest.fixture
def left(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spool of a run whose process is gone, with points and a checkpoint that its store did not take."""
    strange.create(store)
    monkeypatch.setattr(tracker, "CLOSING", 0.0)
    monkeypatch.setattr(liveness, "process", lambda: GONE)
    place = tmp_path / "last-2"
    place.mkdir()
    (place / "weights").write_text("of step 2")
    (place / "sha256.json").write_text('{"weights": "0"}')

    def act() -> None:
        with recording.recording(store, "tests", None, {}, {}, {"a.txt": "a"}) as told:
            told.record(Step(1, torch.tensor(0.5)))
            told.drain()
            Repository.away = OSError("away")
            told.record(Step(2, torch.tensor(0.5)))
            told.record(Snapshot("last", 2, place))

    with pytest.raises(Undelivered):
        act()
    monkeypatch.undo()
    Repository.away = None
    [folder] = spool.folders(store)
    return folder


def steps(store: str, run_id: str) -> list[int]:
    return [point.step for point in stores.open_store(store).get_metric_history(run_id, "train/loss")]


def assert_whole(store: str, folder: Path) -> None:
    run = stores.open_store(store).get_run(folder.name)
    assert (run.info.status, steps(store, folder.name)) == ("FINISHED", [1, 2])
    assert run.data.tags["checkpoint.last"] == "checkpoints/last-2"
    artifacts = strange.place(store) / folder.name / "artifacts" / "checkpoints"
    assert (artifacts / "last-2" / "weights").read_text() == "of step 2"
    assert not folder.exists()


def together(*acts: Callable[[], Any]) -> list[Any]:
    """What the calls give that are begun at the same time."""
    gate, results = threading.Barrier(len(acts)), dict[int, Any]()

    def act(number: int) -> None:
        gate.wait()
        results[number] = acts[number]()

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(acts))]


def test_of_many_that_deliver_at_once_one_does_and_the_others_say_so(store: str, left: Path) -> None:
    stores.open_store(store)
    settled: list[Settled] = together(*[lambda: settle(left)] * 6)
    assert sum("delivered to" in one.message for one in settled) == 1
    others = {one.message for one in settled if "delivered to" not in one.message}
    assert others <= {
        "another process is delivering it; wait for its end",
        "another process has just delivered it",
        "nothing was in it",
    }
    assert all(one.undelivered == ("wait for its end" in one.message) for one in settled)
    assert_whole(store, left)


def test_a_spool_that_goes_while_it_is_looked_at_was_delivered(store: str, left: Path) -> None:
    shutil.rmtree(left)
    assert not settle(left).undelivered
    assert not left.exists()


def test_nobody_else_has_a_spool_before_all_of_it_is_removed(
    store: str, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed just then would write a new one, of which the rest of the removal would take its part."""
    taken = spool.take(left)
    assert taken is not None
    lock, rmtree, unlink = left / "lock", shutil.rmtree, Path.unlink
    moments = 0

    def look() -> None:
        nonlocal moments
        if lock.exists():
            moments += 1
            assert spool.lock(left) is None, "somebody else has the spool"
        else:
            assert not list(left.iterdir()), "the lock goes last"

    def looked_at(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            look()
            found = change(*given, **named)
            look()
            return found

        return call

    monkeypatch.setattr(shutil, "rmtree", looked_at(rmtree))
    monkeypatch.setattr(Path, "unlink", looked_at(unlink))
    taken.remove()
    assert moments > 5
    assert not left.exists()


def test_who_is_killed_while_removing_leaves_what_the_next_one_removes(
    store: str, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, copy = Path.unlink, left.parent / f"{left.name[:-1]}x"

    def remove(moment: int) -> None:
        left_over = [moment]

        def killed(*given: Any, **named: Any) -> None:
            left_over[0] -= 1
            if not left_over[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            unlink(*given, **named)

        monkeypatch.setattr(Path, "unlink", killed)
        spool.take(copy).remove()  # type: ignore[union-attr]

    for moment in range(1, 5):
        shutil.copytree(left, copy)
        assert test_durable.forked(partial(remove, moment)) == -signal.SIGKILL
        taken = spool.take(copy)
        assert taken is not None
        assert taken.header or taken.is_empty, "nothing is in it of which nobody knows whose it is"
        taken.remove()
        assert not copy.exists()


def test_a_delivery_that_is_killed_is_made_whole_by_the_next(store: str, left: Path) -> None:
    def killed(one: delivery.Delivery, *_: Any) -> None:
        one._flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def act() -> None:
        delivery.Delivery._end = killed  # type: ignore[method-assign]  # all is told, and nothing is noted
        settle(left)

    assert test_durable.forked(act) == -signal.SIGKILL
    assert steps(store, left.name) == [1, 2]
    assert "delivered to" in settle(left).message
    assert_whole(store, left)


def test_a_run_at_work_is_left_alone_and_the_exit_code_says_so(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings, context = Settings(tracking=Tracking(uri=store)), Context("runner")
    with recording.recording(store, "tests", None, {}, {}, {}) as told:
        for step in range(1, 6):
            told.record(Step(step, torch.tensor(0.5)))
            assert sync.with_settings(settings, context).code == 1
            assert capsys.readouterr().out == f"run {told.run_id}: not delivered: its process is still at it\n"
    assert steps(store, told.run_id) == [1, 2, 3, 4, 5]
    assert sync.with_settings(settings, context).code == 0


def test_a_run_waits_for_a_moment_while_its_new_spool_is_looked_at(store: str, left: Path) -> None:
    settle(left)
    left.mkdir()
    other = spool.lock(left)
    timer = threading.Timer(0.2, other.release)
    timer.start()
    mine = spool.create(store, left.name, liveness.process())
    assert not other.is_locked
    assert (left / "header.json").exists()
    mine.release()
    timer.join()


def test_a_run_whose_spool_another_process_holds_is_not_begun(
    store: str, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(left)
    monkeypatch.setattr(spool, "MOMENT", 0.1)
    real = spool.create

    def create(uri: str, run_id: str, process: dict[str, Any]) -> spool.Spool:
        left.mkdir()
        monkeypatch.setattr(spool, "_other", spool.lock(left), raising=False)
        return real(uri, run_id, process)

    monkeypatch.setattr(spool, "create", create)
    with pytest.raises(ConfigError, match="another process is at it"), continued(store, left.name):
        raise AssertionError
    assert stores.open_store(store).get_run(left.name).info.status == "FINISHED"
    spool._other.release()  # type: ignore[attr-defined]


def continued(store: str, run_id: str) -> Any:
    return recording.recording(store, "", None, {}, {}, {}, run_id)


def test_a_run_that_another_command_delivers_is_not_resumed_meanwhile(store: str, left: Path) -> None:
    held = spool.lock(left)
    with (
        pytest.raises(ConfigError, match="another process is delivering it; wait for its end"),
        continued(store, left.name),
    ):
        raise AssertionError
    held.release()
    with continued(store, left.name) as told:
        told.record(Step(3, torch.tensor(0.5)))
    assert steps(store, left.name) == [1, 2, 3]


def test_processes_with_other_temporary_folders_have_one_lock_at_a_store(store: str, tmp_path: Path) -> None:
    """By which one run is not given to two of them."""
    client, before = stores.open_store(store), tempfile.gettempdir()
    with reconcile.changing(client):
        tempfile.tempdir = str(tmp_path)
        other = reconcile.changing(client)
        tempfile.tempdir = before
        with pytest.raises(Timeout):
            other.acquire(blocking=False)


# Temporary folders


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder that this process has for a while."""
    place, before = tmp_path / "tmp of the run", tempfile.gettempdir()
    place.mkdir()
    tempfile.tempdir = str(place)
    yield place
    tempfile.tempdir = before


def killed(store: str, run_id: str, process: dict[str, Any]) -> Path:
    """The spool of a run that was killed while a checkpoint was in its temporary folder alone."""
    folder = Path(tempfile.mkdtemp(prefix="runner-")) / "last-3"
    folder.mkdir()
    (folder / "weights").write_text("of step 3")
    (folder / "sha256.json").write_text('{"weights": "0"}')
    taken = spool.create(store, run_id, process)
    taken.append([entries.checkpoint(0, Snapshot("last", 3, folder), 2)])
    taken.release()
    return taken.folder


def test_files_in_the_temporary_folder_that_the_run_had_are_found(
    store: str, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = stores.open_store(store)
    tags = {reconcile.PROCESS: json.dumps(GONE)}
    group = stores.experiment(client, store, "tests").experiment_id
    runs = [client.create_run(group, tags=tags).info.run_id for _ in range(2)]
    folders = [killed(store, run_id, GONE) for run_id in runs]
    tempfile.tempdir = str(tmp_path)
    settled = settle(folders[0])
    assert not settled.undelivered, settled.message
    assert client.get_run(runs[0]).data.tags["checkpoint.last"] == "checkpoints/last-3"
    # Of a spool that is not known to be one's own the folder has to be typed, and the message says how.
    header = json.loads((folders[1] / "header.json").read_text())
    (folders[1] / "header.json").write_text(json.dumps({**header, "mark": ""}))
    refused = settle(folders[1])
    assert refused.undelivered
    assert f"they are expected in {tmp_path}; if your run had its temporary files there: " in refused.message
    assert f"TMPDIR='{elsewhere}' runner sync" in refused.message
    assert "checkpoint.last" not in client.get_run(runs[1]).data.tags
    tempfile.tempdir = str(elsewhere)
    assert not settle(folders[1]).undelivered
    assert client.get_run(runs[1]).data.tags["checkpoint.last"] == "checkpoints/last-3"


def test_a_spool_that_names_another_temporary_folder_than_it_was_marked_with_is_refused(
    store: str, elsewhere: Path, tmp_path: Path
) -> None:
    """Or a stranger who hands one's own spool back could have any folder of that form sent."""
    client = stores.open_store(store)
    run_id = client.create_run("0", tags={reconcile.PROCESS: json.dumps(GONE)}).info.run_id
    folder = killed(store, run_id, GONE)
    private = tmp_path / "home" / "runner-research"
    private.mkdir(parents=True, mode=0o700)
    (private / "secret").write_text("c4n4ry")
    header = json.loads((folder / "header.json").read_text())
    (folder / "header.json").write_text(json.dumps({**header, "temporary": str(private.parent)}))
    entry = {"files": 1, "from": str(private), "to": None, "tags": {}, "move": False}
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    assert settle(folder).undelivered
    assert not list(tmp_path.rglob("mlruns/**/secret"))
    # The control: with the mark of this user's it would have been sent.
    process = {"uri": header["uri"], "process": header["process"], "temporary": str(private.parent)}
    mark = marks.mark(*spool_header.marked(run_id, process))
    (folder / "header.json").write_text(json.dumps({**process, "mark": mark}))
    tempfile.tempdir = str(elsewhere)
    assert not settle(folder).undelivered
    assert list(tmp_path.rglob("mlruns/**/secret"))
