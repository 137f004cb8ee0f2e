"""A disk that fills up at any moment of a command: nothing is lost, nothing is there twice, and no message is false."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import disk
from tests.command import Done
from tests.disk import Disk

STUDY = """
data: {name: line, points: 64, valid: 20, test: 20}
model: {layers: [{Linear: 64}, ReLU, {Linear: 64}, ReLU, {Linear: 1}]}
loss: {name: MSELoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 6, batch_size: 16, threads: 1}
checkpoint: {every: 5 steps}
plots: []
device: cpu
"""
#: What no person is shown.
PAGES = ("Traceback", "sqlalche", "[SQL", 'File "')
ENDED = re.compile(r"^run (\w{32}) (FINISHED|FAILED|KILLED)", re.MULTILINE)


@dataclass
class Count:
    """What is wrong after a command whose disk was full."""

    cases: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        ends = ", ".join(f"{number} {what}" for what, number in self.ends.most_common())
        wrong = f"{len(self.lost)} lost, {len(self.twice)} twice, {len(self.false)} false messages"
        return f"{self.cases} full disks ({ends}): {wrong}"


def furnish(place: Path, store: Path) -> None:
    (place / "experiments").mkdir()
    (place / "experiments" / "disk.yaml").write_text(STUDY)
    shutil.copy(store, place / "mlflow.db")


@dataclass
class Record:
    """A run as the store has it."""

    run_id: str
    status: str
    artifacts: Path
    tags: dict[str, str]
    points: list[tuple[str, int]]


def records(place: Path) -> list[Record]:
    """All of them, the oldest first, read by SQLite alone: MLflow would remember the store of the case before."""
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as store:

        def rows(query: str, *values: str) -> list[Any]:
            return store.execute(query, values).fetchall()

        return [
            Record(
                run_id,
                status,
                Path(uri.removeprefix("file://")),
                dict(rows("select key, value from tags where run_uuid = ?", run_id)),
                rows("select key, step from metrics where run_uuid = ? order by key, step", run_id),
            )
            for run_id, status, uri in rows("select run_uuid, status, artifact_uri from runs order by start_time")
        ]


def wrong_tags(run: Record) -> list[str]:
    """Checkpoints that the tags name and that are not there as they say."""
    wrong, tags = [], run.tags
    for name in ("last", "best"):
        kept = json.loads(tags.get(f"checkpoint.{name}.kept", "[]"))
        if kept and tags[f"checkpoint.{name}"] != kept[0]["place"]:
            wrong.append(f"{name} is not the newest")
        for one in kept:
            for file, sha in one["sha256"].items():
                path = run.artifacts / one["place"] / file
                if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha:
                    wrong.append(f"{one['place']}/{file}")
    return wrong


def weights(run: Record) -> list[str]:
    """SHA-256 of the weights of the checkpoints that the tags name."""
    return [run.tags[f"checkpoint.{name}.sha256"].split('"state_dict.pt": ')[1][:66] for name in ("last", "best")]


def newest(place: Path) -> int:
    """The step of the newest checkpoint in the store's folder; 0 if there is none."""
    return max(
        (int(path.name.rpartition("-")[2]) for path in place.glob("mlruns/*/*/artifacts/checkpoints/last-*")), default=0
    )


def spools(place: Path) -> list[Path]:
    return list((place / ".runner" / "spool").glob("*/"))


@dataclass
class Whole:
    """What the run leaves whose disk had room."""

    points: list[tuple[str, int]]
    weights: list[str]
    changes: int  # of the disk, as `tests.disk` counts them


def undisturbed(place: Path) -> Whole:
    done = disk.runner("experiments=disk", cwd=place)
    assert done.code == 0, done.err
    [run] = records(place)
    return Whole(run.points, weights(run), changes(place))


def changes(place: Path) -> int:
    return int((place.parent / ".count").read_text())


def judged(small: Disk, done: Done, whole: Whole, count: Count, case: str, before: int) -> None:
    """Count what is wrong after a command of one run, on a disk with room again.

    before: the step of the newest checkpoint in the store when the disk was full.
    """
    place = small.folder
    small.empty()
    count.cases += 1
    text = done.out + done.err

    def false(what: str) -> None:
        count.false.append(f"{case}: {what}\n{text[-1500:]}")

    if any(page in done.err for page in PAGES):
        false("a page")
    said = ENDED.findall(done.out)
    status = said[-1][1] if said else "no run"
    count.ends[f"{status} with exit code {done.code}"] += 1
    if (done.code == 0) != (status == "FINISHED" and "runner sync" not in text):
        false("the exit code")
    made = records(place)
    for run in made:
        if wrong := wrong_tags(run):
            false(f"tags name what is not there: {wrong}")
    if done.code == 0 and (spools(place) or made[-1].status != "FINISHED"):
        false("FINISHED")
    kept = "the rest is kept in" in text
    if status == "FINISHED" and done.code and not kept:
        false("FINISHED with exit code 1")
    for moved in re.findall(r"to have them delivered: (mv .*)", text):
        subprocess.run(moved.split(), check=True)
    if spools(place):
        synced = disk.runner("sync", cwd=place)
        if kept and (synced.code or records(place)[-1].status != status):
            false(f"what is kept is delivered: {synced.out}{synced.err}")
        if spools(place):
            false(f"sync leaves something: {synced.out}{synced.err}")
    if made and newest(place) < before:
        count.lost.append(f"{case}: checkpoint {before}")
    _finished(place, whole, count, case)


def _finished(place: Path, whole: Whole, count: Count, case: str) -> None:
    """The run goes on to its end, or begins anew where no checkpoint was saved, and is then the undisturbed one."""
    made = records(place)
    if not made or made[-1].status != "FINISHED":
        again = ("resume", "last") if made and newest(place) else ("experiments=disk",)
        done = disk.runner(*again, cwd=place)
        if done.code:
            count.lost.append(f"{case}: {again}: {done.err}")
            return
        made = records(place)
    run = made[-1]
    found = run.points
    if len(found) != len(set(found)):
        count.twice.append(f"{case}: {len(found) - len(set(found))} points")
    if sorted(set(found)) != whole.points or wrong_tags(run) or weights(run) != whole.weights:
        count.lost.append(f"{case}: {len(set(whole.points) - set(found))} points, or the weights are others")


def run_at(small: Disk, store: Path, whole: Whole, count: Count, at: int, left: int, seconds: float, tmp: bool) -> None:
    """One training whose disk is full from its change number `at` on."""
    place = small.folder
    _clean(place)
    furnish(place, store)
    env = {}
    if tmp:
        (place / "tmp").mkdir()
        env["TMPDIR"] = str(place / "tmp")
    done = disk.runner("experiments=disk", cwd=place, env=env, at=at, left=left, seconds=seconds)
    before = int((place.parent / ".newest").read_text())
    judged(small, done, whole, count, f"run at={at} left={left} seconds={seconds} tmp={tmp}", before)


def _clean(place: Path) -> None:
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
