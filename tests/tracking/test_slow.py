"""A server that is slow and healthy gets large files and gives them back; one that is silent is left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.tracking import recording
from runner.tracking.store import artifacts, stores, transfer
from runner.tracking.write import spool, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Snapshot
from tests.support.command import HANGS
from tests.support.line import Line
from tests.support.server import Server

#: Bytes of a checkpoint, and a pace that gives a slow server plenty of time for it.
SIZE, PACE = 2_000_000, 10_000
#: Seconds: longer than a store may be silent about anything small.
LATE = 5.0


@pytest.fixture
def line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.chdir(tmp_path)  # where the spools go
    made = Line(server.port)
    yield made
    made.close()


def checkpoint(folder: Path, size: int = SIZE) -> Snapshot:
    place = folder / "last-1"
    place.mkdir()
    (place / "weights").write_bytes(os.urandom(1000) * (size // 1000))
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot("last", 1, place)


def record(line: Line, event: Snapshot) -> str:
    with recording.recording(line.uri, "tests", None, {}, {}, {}) as told:
        told.record(event)
    return told.run_id


def test_a_server_that_is_late_with_a_large_file_is_waited_for(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "CLOSING", 0.0)
    line.late, line.of = LATE, b"/weights HTTP"
    event = checkpoint(tmp_path)
    content = (event.folder / "weights").read_bytes()
    with monkeypatch.context() as patch:  # negative control: without limits that grow it is taken for dead
        patch.setattr(transfer, "PACE", float("inf"))
        with pytest.raises(Undelivered, match=r"timed out|does not answer"):
            record(line, event)
    monkeypatch.setattr(transfer, "PACE", PACE)
    monkeypatch.setattr(transfer, "READING", PACE)
    [folder] = spool.folders(line.uri)
    settled = settle(folder)
    assert not settled.undelivered, settled.message
    assert line.times == 2, "it was sent once more"
    files = artifacts.fetch(stores.open_store(line.uri), folder.name, "checkpoints/last-1", str(tmp_path))
    assert files is not None
    assert (files / "weights").read_bytes() == content
    assert line.times == 3, "and asked for once"


def test_a_server_that_takes_no_more_of_a_large_file_is_left(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though by the file's size it would have a year for its answer."""
    monkeypatch.setattr(tracker, "CLOSING", 0.0)
    monkeypatch.setattr(transfer, "PACE", 1)
    monkeypatch.setattr(transfer, "PAUSE", 4.0)
    line.stalls = 1_000_000
    with pytest.raises(Undelivered, match="runner sync"):
        record(line, checkpoint(tmp_path, 32_000_000))
    line.stalls = float("inf")
    [folder] = spool.folders(line.uri)
    settled = settle(folder)
    assert not settled.undelivered, settled.message


def test_a_part_that_is_sent_where_a_server_says_has_a_limit_too(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests
    from mlflow.entities.multipart_upload import MultipartUploadCredential
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    stores.open_store(line.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    (tmp_path / "part").write_bytes(b"1234")
    line.mode = "hang"
    credential = MultipartUploadCredential(url=f"{line.uri}/signed", part_number=1, headers={})
    with pytest.raises(requests.exceptions.Timeout):
        HttpArtifactRepository._upload_part(credential, str(tmp_path / "part"), 4, 0)


@pytest.mark.parametrize("size", [0, 10_000, 5_000_000, 256_000_000])
def test_limits_grow_with_the_size_and_silence_within_does_not(size: int) -> None:
    piece, answer = transfer.limits(size)
    assert 4.0 <= piece <= transfer.PAUSE
    assert answer == pytest.approx(4.0 + size / transfer.PACE)


def test_a_process_that_has_left_a_transfer_ends_though_a_librarys_threads_hang(tmp_path: Path) -> None:
    script = """
import threading
from concurrent.futures import ThreadPoolExecutor
from runner.tracking.store import transfer

def hang():
    ThreadPoolExecutor(1).submit(threading.Event().wait).result()

transfer.GRACE = 0.1
try:
    transfer.run(hang, transfer.Patience(lambda: True))
except TimeoutError:
    print("left")
transfer.leave(7)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, done.stdout, done.stderr) == (7, "left\n", "")
