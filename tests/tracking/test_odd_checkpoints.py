"""What stands in a checkpoint's place, a pipe or half a file: never a hang, and the one before it is taken."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.tracking.read import checkpoints
from runner.tracking.store import stores
from runner.training.state.checkpoint import CheckpointError
from tests.support import command

#: Seconds after which something hangs.
HANGS = 60


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run that has the checkpoints of steps 4 and 6."""
    place = tmp_path_factory.mktemp("trained")
    shutil.copy(empty_store, place / "mlflow.db")
    command.runner("experiments=linear_regression", "plots=[]", "trainer.epochs=6", "checkpoint.every=2", cwd=place)
    return place


@pytest.fixture
def newest(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of the newest checkpoint, which is put back after the test."""
    [folder] = trained.glob("mlruns/*/*/artifacts/checkpoints/last-6")
    shutil.copytree(folder, tmp_path / "kept")
    yield folder
    folder.unlink() if folder.is_symlink() or not folder.is_dir() else shutil.rmtree(folder)
    shutil.copytree(tmp_path / "kept", folder)


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Fail instead of hanging."""

    def hangs(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def state(place: Path) -> tuple[int, list[str]]:
    """The step of the checkpoint that is taken, and what is said of newer ones."""
    uri = f"sqlite:///{place}/mlflow.db"
    with in_time():
        entry, _, training, wrong = checkpoints.state(uri, stores.rows(uri)[0].run_id, [])
    assert training["steps"] == 6
    assert all("\n" not in line for line in wrong)
    return entry.step, wrong


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def bound(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as one:  # a path may have 107 bytes
        one.bind(path.name)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    kept = path.parent.parent / "last-4" / path.name
    path.write_bytes(kept.read_bytes()[:-1000])


KINDS: list[Callable[[Path], None]] = [pipe, folder, link, dangling, bound, nothing, half]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_checkpoint_is_said_and_the_one_before_is_taken(
    trained: Path, newest: Path, kind: Callable[[Path], None]
) -> None:
    for name in ("training.pt", "state_dict.pt"):
        kept = (newest / name).read_bytes()
        (newest / name).unlink()
        kind(newest / name)
        step, [wrong] = state(trained)
        assert step == 4
        assert name in wrong
        there = newest / name
        there.rmdir() if kind is folder else there.unlink()
        there.write_bytes(kept)
    assert state(trained) == (6, [])


@pytest.mark.parametrize("kind", [pipe, link, dangling, bound, nothing], ids=lambda kind: kind.__name__)
def test_so_it_is_with_its_folder_and_with_what_is_beside(
    trained: Path, newest: Path, kind: Callable[[Path], None]
) -> None:
    (newest / "sha256.json").unlink()
    kind(newest / "sha256.json")
    assert state(trained) == (6, []), "the tags know the digests"
    shutil.rmtree(newest)
    kind(newest)
    assert state(trained)[0] == 4


def test_a_file_of_digests_that_is_a_pipe_is_not_waited_for(trained: Path, newest: Path) -> None:
    from runner.training.state import checkpoint

    (newest / "sha256.json").unlink()
    os.mkfifo(newest / "sha256.json")
    with in_time():
        assert checkpoint.load_state_dict(newest / "state_dict.pt")


def test_where_none_is_left_it_is_one_sentence(trained: Path, newest: Path) -> None:
    other = newest.parent / "last-4"
    other.rename(newest.parent / "away")
    shutil.rmtree(newest)
    os.mkfifo(newest)
    try:
        with pytest.raises(CheckpointError, match=r"step 6: .*; checkpoint of step 4: ") as error:
            state(trained)
        assert "\n" not in str(error.value)
    finally:
        (newest.parent / "away").rename(other)


def test_a_run_goes_on_over_what_stands_in_the_place_of_its_newest_checkpoint(trained: Path, tmp_path: Path) -> None:
    """Whole commands: what it writes anew, at the same step, takes the place of a folder and of a pipe."""
    place = tmp_path / "place"
    with contextlib.closing(sqlite3.connect(trained / "mlflow.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(trained, place)
    [newest] = place.glob("mlruns/*/*/artifacts/checkpoints/last-6")
    for name, kind in (("training.pt", folder), ("state_dict.pt", pipe), ("sha256.json", link)):
        (newest / name).unlink()
        kind(newest / name)
    done = command.runner("resume", "last", "trainer.epochs=9", cwd=place)
    assert "falling back to the checkpoint of step 4" in done.err
    assert "FINISHED" in done.last
    step, wrong = 0, [""]
    uri = f"sqlite:///{place}/mlflow.db"
    with in_time():
        entry, _, _, wrong = checkpoints.state(uri, stores.rows(uri)[0].run_id, [])
        step = entry.step
    assert (step, wrong) == (9, [])
