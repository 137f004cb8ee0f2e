"""A file is whole or not there, at whatever call to the system the process is killed."""

import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.settings.files import durable
from runner.tracking import recording
from runner.tracking.read import checkpoints
from runner.training.events import Snapshot
from runner.training.state import checkpoint
from runner.training.state.checkpoint import CheckpointError
from runner.training.state.history import History

#: The calls after which the disk is another than before.
CALLS = ("write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
FORK = multiprocessing.get_context("fork")


def model(value: float) -> nn.Module:
    made = nn.Linear(200, 200)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


def save(folder: Path, value: float) -> None:
    checkpoint.save(folder, model(value), "state_dict")


def killed_at(number: int, act: Callable[[], None]) -> bool:
    """Run `act` in a process that is killed before its `number`-th call; whether it came to that."""

    def child() -> None:
        left = [number]

        def guarded(call: Any) -> Any:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapper

        for name in CALLS:
            setattr(os, name, guarded(getattr(os, name)))
        durable.PIECE = 2048
        act()

    return forked(child) == -signal.SIGKILL


def forked(act: Callable[[], None]) -> int | None:
    """Run `act` in a process of its own. Returns its exit code."""

    def child() -> None:
        torch.set_num_threads(1)  # its other threads do not come along
        act()
        os._exit(0)

    process = FORK.Process(target=child)
    process.start()
    process.join(1500)
    process.kill()
    process.join()
    return process.exitcode


def found(path: Path) -> float | None:
    """The one number in all of the checkpoint; None if there is none."""
    try:
        weight = checkpoint.load_state_dict(path)["weight"]
    except CheckpointError:
        return None
    assert (weight == weight[0, 0]).all(), "a mixture of two checkpoints"
    return weight[0, 0].item()


def killed_everywhere(folder: Path, every: int, act: Callable[[Path], None]) -> list[float | None]:
    """What is found in `folder`'s file after a kill before each `every`-th call of replacing 1.0 by 2.0."""
    content = pickled(1.0)
    outcomes, number = [], 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "state_dict.pt").write_bytes(content)
        came = killed_at(number, lambda: act(folder / "state_dict.pt"))
        outcomes.append(found(folder / "state_dict.pt"))
        number += every
        if not came:
            return outcomes


def pickled(value: float) -> bytes:
    buffer = io.BytesIO()
    torch.save(model(value).state_dict(), buffer)
    return buffer.getvalue()


def written_plainly(path: Path, content: memoryview) -> None:
    durable._pour(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), content)


# The whole of a save: into the run's folder, into the store's, the tags, and the older checkpoint's end.


def recorded(place: Path, value: float, step: int, run_id: str | None = None) -> str:
    """A checkpoint of `step` is saved and told to the store, as a run does it. Returns the run's id."""
    with recording.recording(f"sqlite:///{place}/mlflow.db", "tests", None, {}, {}, {}, run_id, keep=1) as tracker:
        folder = place / "work" / f"last-{step}"
        training = {"step": step, "state": torch.full((5000,), value), "history": History().state_dict()}
        checkpoint.save(folder, model(value), "state_dict", training, False)
        tracker.record(Snapshot("last", step, folder))
        tracker.drain()
    return tracker.run_id


def resumed_from(place: Path, run_id: str) -> float:
    """The number in the checkpoint that a resume would take; asked in a process of its own, as MLflow does not fork."""
    told = place.with_name("told")
    told.unlink(missing_ok=True)
    forked(lambda: told.write_text(str(_resumed_from(place, run_id))))
    return float(told.read_text())


def _resumed_from(place: Path, run_id: str) -> float:
    entry, weights, training, wrong = checkpoints.state(f"sqlite:///{place}/mlflow.db", run_id, [])
    assert wrong == [], "nothing that a tag names is damaged"
    value = weights["weight"][0, 0].item()
    assert (weights["weight"] == value).all(), "a mixture of two checkpoints"
    assert (training["state"] == value).all(), "weights and training state of two checkpoints"
    assert entry.step == training["step"] == value
    return value


def killed_in_a_save(place: Path, store: Path, every: int, first: int = 0) -> list[float]:
    """What a resume finds after a kill before each `every`-th call to the system of a run that saves once more."""
    shutil.copy(store, place / "mlflow.db")
    forked(lambda: place.with_name("id").write_text(recorded(place, 1.0, 1)))
    run_id = place.with_name("id").read_text()
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = place.with_name("before")
    shutil.copytree(place, before)
    outcomes, number, came = [], first, True
    while came:
        shutil.rmtree(place)
        shutil.copytree(before, place)
        came = killed_at(number, lambda: recorded(place, 2.0, 2, run_id))
        outcomes.append(resumed_from(place, run_id))
        number += every
    shutil.rmtree(before)
    return outcomes


def kills(folder: Path, store: Path) -> str:
    """All of it; lines for the README."""
    new = pickled(2.0)  # before the fork: torch's threads do not come along
    outcomes = killed_everywhere(folder / "file", 1, lambda path: durable.write(path, new))
    plainly = killed_everywhere(folder / "plain", 1, lambda path: written_plainly(path, memoryview(new)))
    (folder / "run").mkdir()
    *saves, _ = killed_in_a_save(folder / "run", store, 1)  # the last one was not killed
    bad = sum(outcome not in (1.0, 2.0) for outcome in outcomes)
    return (
        f"kill at every write, fsync and replace of a file: {len(outcomes) - 1} points, {bad} unloadable; written"
        f" plainly, the control: {plainly.count(None)} of {len(plainly) - 1} unloadable\n"
        f"kill at every write, fsync, replace, rename, mkdir, unlink and rmdir of a run that saves: {len(saves)}"
        f" points, {saves.count(1.0)} resume from the old checkpoint, {saves.count(2.0)} from the new, 0 from none"
    )


def test_a_run_that_is_killed_while_it_saves_is_resumed_from_the_old_checkpoint_or_the_new(
    tmp_path: Path, empty_store: Path
):
    (tmp_path / "run").mkdir()
    outcomes = killed_in_a_save(tmp_path / "run", empty_store, 17)
    assert outcomes[0] == 1.0
    assert outcomes[-1] == 2.0
    assert outcomes == sorted(outcomes)


def test_a_save_that_is_killed_leaves_the_old_file_or_the_new(tmp_path: Path):
    new = pickled(2.0)
    outcomes = killed_everywhere(tmp_path / "here", 4, lambda path: durable.write(path, new))
    assert len(outcomes) >= 20
    assert set(outcomes[:-1]) == {1.0}, "before the replace the former file stands"
    assert outcomes[-1] == 2.0


def test_a_plain_write_that_is_killed_does_not(tmp_path: Path):
    """The control."""

    new = memoryview(pickled(2.0))
    assert None in killed_everywhere(tmp_path / "here", 16, lambda path: written_plainly(path, new))


def test_what_is_written_can_be_read_and_nothing_else_is_left(tmp_path: Path):
    durable.write(tmp_path / "a", b"one")
    durable.write(tmp_path / "a", b"two")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"two")]


def test_copies_are_made_in_folders_that_are_not_there_yet(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"one")
    durable.publish([tmp_path / "a"], tmp_path / "deep" / "er")
    assert (tmp_path / "deep" / "er" / "a").read_bytes() == b"one"


def test_a_full_disk_is_told_before_and_the_former_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 1.0)
    monkeypatch.setattr(durable, "SPARE", 1 << 60)
    told = r"no space left in .* MB are to be written and .* MB are left to others, .* MB are free"
    with pytest.raises(CheckpointError, match=told):
        save(tmp_path, 2.0)
    assert found(tmp_path / "state_dict.pt") == 1.0


def test_a_disk_that_fails_midway_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 1.0)
    before = sorted(p.name for p in tmp_path.iterdir())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(tmp_path, 2.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert found(tmp_path / "state_dict.pt") == 1.0
