"""A disk that fails in the middle, in each of its ways: what is said to be kept is there, and comes into the store."""

import contextlib
import errno
import json
import os
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

from runner.settings.files import durable
from runner.tracking import recording
from runner.tracking.store import stores
from runner.tracking.write import spool, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Snapshot, Step
from tests.support import disk

#: Optimizer steps: enough for more than a page of a disk.
STEPS = 400
WHOLE = list(range(1, STEPS + 1))


def checkpoint(folder: Path, step: int) -> Snapshot:
    place = folder / f"last-{step}"
    place.mkdir(parents=True)
    (place / "weights").write_text(f"of step {step}")
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot("last", step, place)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "PATIENCE", 0.2)
    monkeypatch.setattr(tracker, "CLOSING", 0.0)
    monkeypatch.setattr(durable, "_named", set())


def run_of(uri: str) -> tuple[str, list[int], str]:
    """The status of the one run, its steps, and the weights of its newest checkpoint."""
    [row] = stores.rows(uri)
    client = stores.open_store(uri)
    steps = [point.step for point in client.get_metric_history(row.run_id, "train/loss")]
    run = client.get_run(row.run_id)
    newest = Path(unquote(run.info.artifact_uri.removeprefix("file://"))) / run.data.tags["checkpoint.last"]
    return row.status, steps, (newest / "weights").read_text()


def trained(uri: str, folder: Path, faults: contextlib.AbstractContextManager[Any]) -> str:
    """What is said of a run whose disk fails from its second step on."""

    def act() -> None:
        with recording.recording(uri, "tests", None, {}, {}, {"a.txt": "a"}) as told:
            told.record(Step(1, torch.tensor(1.0)))
            told.record(checkpoint(folder, 1))
            told.drain()
            stack.enter_context(faults)
            for step in range(2, STEPS + 1):
                told.record(Step(step, torch.tensor(2.0)))
            told.record(checkpoint(folder, 2))
            told.drain()

    with contextlib.ExitStack() as stack, pytest.raises(Undelivered) as error:
        act()
    return str(error.value)


def remedied(message: str) -> None:
    """Type what the message says."""
    for command in re.findall(r"to have (?:it|them) delivered: (.*)", message):
        subprocess.run(command, shell=True, check=True)


@pytest.fixture
def apart() -> Iterator[Path]:
    """A folder on another disk than the one that fails, which has the temporary files."""
    with tempfile.TemporaryDirectory(prefix="apart ") as folder:
        before, tempfile.tempdir = tempfile.gettempdir(), folder
        yield Path(folder)
        tempfile.tempdir = before


@contextlib.contextmanager
def full(small: disk.Disk) -> Iterator[None]:
    with contextlib.suppress(OSError), (small.folder / disk.BALLAST).open("ab", buffering=0) as file:
        while True:  # whatever else is written meanwhile
            file.write(b"0" * 4096)
    yield
    small.empty()


def test_what_waits_in_memory_while_no_disk_takes_it_can_be_delivered(
    empty_store: Path, tmp_path: Path, apart: Path
) -> None:
    """With its entry alone a checkpoint is of use: `runner sync` would delete what nothing names."""
    with disk.small(tmp_path / "a disk") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        (small.folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        uri = f"sqlite:///{small.folder}/mlflow.db"
        message = trained(uri, apart / "run", full(small))
        assert "399 points, how the run ended, checkpoints/last-2 could not be recorded: " in message
        assert message.count("to have ") == 2
        remedied(message)
        [folder] = spool.folders(uri)
        assert not settle(folder).undelivered
        assert run_of(uri) == ("FINISHED", WHOLE, "of step 2"), "as it has earned, now that all is there"
        with contextlib.suppress(KeyError):
            stores._stores.pop(small.folder / "mlflow.db").engine.dispose()


# Errors of single calls


@contextlib.contextmanager
def broken(call: str, number: int, below: Path) -> Iterator[None]:
    """A call of the system that fails for files below a folder."""
    real = getattr(os, call)

    def fails(handle: int, *given: Any) -> Any:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        if path.startswith(str(below)):
            raise OSError(number, os.strerror(number), path)
        return real(handle, *given)

    setattr(os, call, fails)
    try:
        yield
    finally:
        setattr(os, call, real)


@pytest.mark.parametrize(
    ("call", "number"),
    [
        *(("write", number) for number in (errno.EIO, errno.EDQUOT, errno.ESTALE)),
        *(("fsync", number) for number in (errno.EIO, errno.ENOSPC, errno.EROFS)),
    ],
)
def test_a_checkpoint_that_a_failing_disk_does_not_take_is_kept_and_delivered(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], call: str, number: int
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    message = trained(store, tmp_path / "run", broken(call, number, tmp_path / "mlruns"))
    assert "is FINISHED, but the store does not have all of its record: " in message
    assert os.strerror(number) in message
    assert "Traceback" not in message + capsys.readouterr().err
    [folder] = spool.folders(store)
    kept = [path.read_text() for path in (folder / "files").rglob("weights")]
    assert "of step 2" in kept, "what is said to be kept is there"
    assert not settle(folder).undelivered
    assert run_of(store) == ("FINISHED", WHOLE, "of step 2")
    assert not list(tmp_path.rglob("*.part"))


def test_what_no_checkpoint_can_do_without_outlives_a_loss_of_power(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written and not synced, both were files of 0 bytes on an ext4 that was lost a few seconds later."""
    real, synced = os.fsync, list[str]()

    def fsync(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()).replace(str(tmp_path), ""))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with recording.recording(store, "tests", None, {}, {}, {"config.yaml": "seed: 0"}) as told:
        pass
    names = [re.sub(r"\.\d+\.part$|\.part$", "", path.replace("/.", "/", 1)) for path in synced]
    assert any(name.endswith("/artifacts/.config.yaml") or name.endswith("/artifacts/config.yaml") for name in names)
    assert any(f"/spool/{told.run_id}/header" in name for name in names)
    assert any(name.endswith(f"/spool/{told.run_id}") for name in names)


def test_a_header_that_is_lost_says_what_to_do(store: str, tmp_path: Path) -> None:
    """Of a former version, whose headers were not synced."""
    run_id = stores.open_store(store).create_run("0").info.run_id
    taken = spool.create(store, run_id, {"pid": 1})
    taken.append([{"points": [["a", 1.0, 1, 1]]}])
    taken.release()
    (taken.folder / "header.json").write_bytes(b"")
    assert "header.json" in settle(taken.folder).message
    assert taken.folder.exists()
    assert json.loads((taken.folder / "log.jsonl").read_text())
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as open_store:
        assert open_store.execute("select count(*) from metrics").fetchone() == (0,)
