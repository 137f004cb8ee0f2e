"""The figure of stores elsewhere: a checkpoint of 256 MB, and an S3 that goes away at every moment of a run."""

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runner.tracking import recording
from runner.tracking.store import artifacts, stores
from runner.tracking.write import spool
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Artifacts, Event, Snapshot, Step
from tests.support.line import S3, Line, away, environment
from tests.support.server import Server

#: Bytes of the large checkpoint, and bytes a second of the slow line.
SIZE, RATE = 256_000_000, 16e6
#: Seconds by which the slow server's answers are late.
LATE = 10.0
#: Optimizer steps of a run whose S3 goes away, and steps between two checkpoints.
STEPS, EVERY = 40, 10


@dataclass
class Counts:
    lost: int = 0
    twice: int = 0
    false: int = 0  # messages


def figure(folder: Path, empty_store: Path) -> str:
    """One line for the table of figures."""
    counts = Counts()
    with contextlib.chdir(folder):
        large = _large(folder, empty_store, counts)
        moments = _moments(folder, empty_store, counts)
    return (
        f"256 MB to a server that takes {RATE / 1e6:.0f} MB/s and answers {LATE:.0f} s late {large}; "
        f"S3 away for 2 s and for good at {moments} moments: "
        f"{counts.lost} lost, {counts.twice} twice, {counts.false} false messages"
    )


def _checkpoint(folder: Path, step: int, content: bytes, name: str = "last") -> Snapshot:
    place = folder / f"{name}-{step}"
    place.mkdir(parents=True)
    (place / "weights").write_bytes(content)
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot(name, step, place)


def _large(folder: Path, empty_store: Path, counts: Counts) -> str:
    server = Server(empty_store, folder)
    server.start()
    server.wait()
    line = Line(server.port)
    line.rate, line.late, line.of = RATE, LATE, b"/weights HTTP"
    content = os.urandom(1 << 20) * (SIZE >> 20)
    try:
        begun = time.monotonic()
        run_id = _sent(line.uri, [_checkpoint(folder / "sent", 1, content)], counts)
        sent = time.monotonic() - begun
        counts.twice += line.times - 1
        begun = time.monotonic()
        counts.lost += not _is_there(line.uri, run_id, content, folder / "fetched")
        fetched = time.monotonic() - begun
        counts.twice += line.times - 2
        left = _left(line, _checkpoint(folder / "left", 1, content), counts)
        begun = time.monotonic()
        settled = settle(left)
        synchronized = time.monotonic() - begun
        counts.false += settled.undelivered
        counts.lost += not _is_there(line.uri, left.name, content, folder / "synchronized")
    finally:
        line.close()
        server.kill()
    return f"is sent in {sent:.0f} s, fetched in {fetched:.0f} s and by `runner sync` delivered in {synchronized:.0f} s"


def _sent(uri: str, events: list[Event], counts: Counts) -> str:
    run_id = ""
    try:
        with recording.recording(uri, "tests", None, {}, {}, {}) as told:
            run_id = told.run_id
            for event in events:
                told.record(event)
    except Undelivered:
        counts.false += 1
    counts.false += stores.open_store(uri).get_run(run_id).info.status != "FINISHED"
    return run_id


def _left(line: Line, event: Snapshot, counts: Counts) -> Path:
    """The spool of a run whose server goes away before its checkpoint is sent."""
    try:
        with recording.recording(line.uri, "tests", None, {}, {}, {}) as told:
            line.mode = "refuse"
            told.record(event)
        counts.false += 1
    except Undelivered:
        pass
    line.mode = "pass"
    return Path(".runner") / "spool" / told.run_id


def _is_there(uri: str, run_id: str, content: bytes, folder: Path) -> bool:
    folder.mkdir()
    files = artifacts.fetch(stores.open_store(uri), run_id, "checkpoints/last-1", str(folder))
    there = files is not None and (files / "weights").read_bytes() == content
    shutil.rmtree(folder)
    return there


def _moments(folder: Path, empty_store: Path, counts: Counts) -> int:
    s3 = S3()
    line = Line(s3.port)
    os.environ.update(environment(line))
    shutil.copy(empty_store, folder / "runs.db")
    uri = f"sqlite:///{folder}/runs.db"
    stores.open_store(uri).create_experiment("tests", artifact_location="s3://runs/tests")
    moments = range(0, STEPS, 3)
    for moment in moments:
        for seconds in (2.0, 0.0):
            run_id = _run(uri, line, folder / f"{moment}-{seconds}", moment, seconds, counts)
            _count(uri, s3, run_id, counts)
    line.close()
    s3.stop()
    return 2 * len(moments)


def _run(uri: str, line: Line, folder: Path, moment: int, seconds: float, counts: Counts) -> str:
    """Record a run whose S3 goes away at a moment, for some seconds or for good, and synchronize what is left."""
    with contextlib.ExitStack() as stack:
        try:
            with recording.recording(uri, "tests", None, {}, {"seed": "0"}, {"a.txt": "a"}) as told:
                for step in range(1, STEPS + 1):
                    told.record(Step(step, torch.tensor(float(step))))
                    if step % EVERY == 0:
                        told.record(_checkpoint(folder, step, str(step).encode()))
                        told.record(_checkpoint(folder, step, str(step).encode(), "best"))
                        told.drain()
                    if step == moment + 1 and seconds:
                        stack.enter_context(away(line, "refuse", seconds))
                    elif step == moment + 1:
                        line.mode = "refuse"
                told.record(Artifacts(_predictions(folder)))
        except Undelivered as error:
            shutil.rmtree(folder)  # as the run does
            [left] = spool.folders(uri)
            counts.false += "runner sync" not in str(error) or not any((left / "files").rglob("predictions"))
    line.mode = "pass"
    for left in spool.folders(uri):
        settled: Any = settle(left)
        counts.false += settled.undelivered
    return told.run_id


def _predictions(folder: Path) -> Path:
    (folder / "kept").mkdir(parents=True)
    (folder / "kept" / "predictions").write_text("1 2 3")
    return folder / "kept"


def _count(uri: str, s3: S3, run_id: str, counts: Counts) -> None:
    last = {f"checkpoints/last-{step}/weights": str(step).encode() for step in (STEPS - EVERY, STEPS)}
    expected = {
        "a.txt": b"a",
        "predictions": b"1 2 3",
        f"checkpoints/best-{STEPS}/weights": str(STEPS).encode(),
        **last,
    }
    files = s3.files(run_id)
    counts.lost += sum(files.get(name) != content for name, content in expected.items())
    client = stores.open_store(uri)
    steps = [point.step for point in client.get_metric_history(run_id, "train/loss")]
    counts.lost += STEPS - len(set(steps))
    counts.twice += len(steps) - len(set(steps))
    counts.false += client.get_run(run_id).info.status != "FINISHED"
