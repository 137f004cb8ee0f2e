"""A disk that fills up at any moment of a command: nothing is lost, nothing is there twice, and no message is false."""

import contextlib
import faulthandler
import hashlib
import json
import math
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.settings.errors import ConfigError
from runner.settings.files import durable, uris
from runner.tracking import recording
from runner.tracking.store import stores
from runner.tracking.write import sync
from runner.training import forward
from runner.training.drive import drive
from runner.training.machine.signals import Interrupted
from tests.conftest import Start
from tests.settings import test_durable
from tests.support import command, disk
from tests.support.command import Done
from tests.support.disk import Disk

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
#: Bytes that are left, seconds until there is room again, and whether temporary files are on the full disk.
CASES = [
    (0, math.inf, False),
    (100_000, math.inf, True),
    (0, 0.5, True),
    (300_000, math.inf, False),
    (20_000, math.inf, False),
    (0, math.inf, True),
    (100_000, 0.5, False),
]
#: Of each command.
MOMENTS = 21
#: What no person is shown.
PAGES = ("Traceback", "sqlalche", "[SQL", 'File "')
ENDED = re.compile(r"^(?:run|sweep) (\w{32}) (?:is )?(FINISHED|FAILED|KILLED)", re.MULTILINE)


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
    digests = [json.loads(run.tags.get(f"checkpoint.{name}.sha256", "{}")) for name in ("last", "best")]
    return [one.get("state_dict.pt", "none") for one in digests]


def newest(place: Path) -> int:
    """The step of the newest checkpoint in the store's folder; 0 if there is none."""
    return max(
        (int(path.name.rpartition("-")[2]) for path in place.glob("mlruns/*/*/artifacts/checkpoints/last-*")), default=0
    )


def spools(place: Path) -> list[Path]:
    return list((place / ".runner" / "spool").glob("*/"))


@dataclass
class Whole:
    """What commands leave whose disk has room, and how often they change it, as `tests.support.disk` counts."""

    runs: list[tuple[list[tuple[str, int]], list[str]]]  # points and weights of each
    changes: dict[str, int]


def trained(place: Path) -> list[Record]:
    """The newest run; or the newest sweep's and those of its jobs in their order, of each the one that has FINISHED."""
    all_ = records(place)
    parents = [run for run in all_ if "sweep.jobs" in run.tags]
    if not parents:
        return all_[-1:]
    own = [run for run in all_ if run.tags.get("mlflow.parentRunId") == parents[-1].run_id]
    jobs = {run.tags["sweep.job"]: run for run in sorted(own, key=lambda run: run.status == "FINISHED")}
    return [parents[-1], *(jobs[job] for job in sorted(jobs))]


def left_by(runs: list[Record]) -> list[tuple[list[tuple[str, int]], list[str]]]:
    return [(sorted(set(run.points)), weights(run)) for run in runs]


RUN, SWEEP = ("experiments=disk",), ("-m", "experiments=disk", "seed=0,1", "trainer.epochs=3")


class Place:
    """A small disk, the study on it, and the ways to train that are tried on it."""

    def __init__(self, small: Disk, store: Path, words: tuple[str, ...] = RUN) -> None:
        self.small, self.folder, self.store, self.words = small, small.folder, store, words
        self.before = small.folder.parent / "before"
        self.count = Count()
        self.anew()
        assert disk.runner(*words, cwd=self.folder).code == 0
        self.whole = Whole(left_by(trained(self.folder)), {"train": self._changes()})

    def anew(self) -> None:
        """Nothing trained yet."""
        self.small.clear()
        furnish(self.folder, self.store)

    def killed(self) -> None:
        """Killed in mid-training, with a checkpoint in the store and something in the spool."""
        if not self.before.exists():
            for at in range(self.whole.changes["train"] * 2 // 3, 0, -7):
                self.anew()
                disk.runner(*self.words, cwd=self.folder, at=at, left=disk.KILL)
                if newest(self.folder) and spools(self.folder):
                    break
            shutil.copytree(self.folder, self.before)
        self.small.clear()
        shutil.copytree(self.before, self.folder, dirs_exist_ok=True)

    def changes(self, way: str) -> int:
        """How often a way to go on from `killed` changes the disk."""
        if way not in self.whole.changes:
            self.killed()
            assert disk.runner(*self._words(way), cwd=self.folder).code == 0
            self.whole.changes[way] = self._changes()
        return self.whole.changes[way]

    def full(self, way: str, at: int, left: int, seconds: float = math.inf, tmp: bool = False) -> None:
        """One command on a disk that is full from its change number `at` on, and what comes of it.

        way: train, or resume or sync what was killed. tmp: temporary files are on that disk, too.
        """
        self.anew() if way == "train" else self.killed()
        env = {"TMPDIR": str(self.folder / "tmp")} if tmp else {}
        (self.folder / "tmp").mkdir()
        done = disk.runner(*self._words(way), cwd=self.folder, env=env, at=at, left=left, seconds=seconds)
        before = int((self.folder.parent / ".newest").read_text())
        self.small.empty()
        self.count.cases += 1
        self._judge(done, before, f"{' '.join(self._words(way))} {at=} {left=} {seconds=} {tmp=}")

    def _judge(self, done: Done, before: int, case: str) -> None:
        """Count what is wrong. before: the step of the newest checkpoint in the store when the disk was full."""
        place, count, text = self.folder, self.count, done.out + done.err

        def false(what: str) -> None:
            count.false.append(f"{case}: {what}\n{text[-1500:]}")

        said = ENDED.findall(text)
        status = said[-1][1] if said else "no run"
        count.ends[f"{status} with exit code {done.code}"] += 1
        if any(page in done.err for page in PAGES):
            false("a page")
        if done.code == 0 and ("runner sync" in text or status not in ("FINISHED", "no run")):
            false("the exit code")
        if wrong := [wrong for run in records(place) for wrong in wrong_tags(run)]:
            false(f"tags name what is not there: {wrong}")
        if done.code == 0 and spools(place):
            false("all of it was delivered")
        kept = dict(re.findall(r"run (\w{32}) is (\w+), but the store does not have all of its record", text))
        if status == "FINISHED" and done.code and not kept:
            false("FINISHED with exit code 1")
        for remedy in re.findall(r"to have (?:it|them) delivered: (.*)", text):
            subprocess.run(remedy, shell=True, check=True)
        synced = disk.runner("sync", cwd=place) if spools(place) else done
        now = {run.run_id: run.status for run in records(place)}
        undelivered = [run_id for run_id in kept if f"run {run_id}: delivered to" not in synced.out]
        if spools(place) or undelivered or any(now[run_id] != kept[run_id] for run_id in kept):
            false(f"what is kept is delivered: {synced.out}{synced.err}")
        if newest(place) < before:
            count.lost.append(f"{case}: checkpoint {before}")
        self._finish(case)

    def _finish(self, case: str) -> None:
        """It goes on to its end, or begins anew where nothing was saved, and is then as if there had been room."""
        place, made = self.folder, records(self.folder)
        if (
            not made
            or {run.status for run in trained(place)} != {"FINISHED"}
            or len(trained(place)) < len(self.whole.runs)
        ):
            done = disk.runner("resume", "last", cwd=place) if newest(place) else None
            if done is None:
                done = disk.runner(*self.words, cwd=place)
            if done.code:
                self.count.lost.append(f"{case}: does not go on: {done.err}")
                return
        runs = trained(place)
        self.count.twice += [
            f"{case}: points of {run.run_id}" for run in runs if len(set(run.points)) < len(run.points)
        ]
        if left_by(runs) != self.whole.runs or any(map(wrong_tags, runs)):
            self.count.lost.append(f"{case}: points, or the weights are others")

    def _words(self, way: str) -> tuple[str, ...]:
        return {"train": self.words, "resume": ("resume", "last"), "sync": ("sync",)}[way]

    def _changes(self) -> int:
        return int((self.folder.parent / ".count").read_text())


def figure(folder: Path, store: Path) -> str:
    """All of it; a line for each."""
    lines = []
    for name, words, ways in (("run", RUN, ("train", "resume", "sync")), ("sweep", SWEEP, ("train",))):
        with disk.small(folder / name / "disk") as small:
            if small is None:
                return "this process may mount no disk of its own"
            place = Place(small, store, words)
            for way in ways:
                place.count = Count()
                total = place.whole.changes["train"] if way == "train" else place.changes(way)
                for number, at in enumerate(range(1, total, max(1, total // MOMENTS))):
                    left, seconds, tmp = CASES[number % len(CASES)]
                    place.full(way, at, left, seconds, tmp)
                lines.append(f"{name}, {way}: {place.count.line}")
                for wrong in (*place.count.lost, *place.count.twice, *place.count.false):
                    print(wrong, file=sys.stderr)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with disk.small(tmp_path_factory.mktemp("disks") / "disk") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        yield Place(small, empty_store)


def nothing_is_wrong(place: Place) -> None:
    count, place.count = place.count, Count()
    assert (count.lost, count.twice, count.false) == ([], [], [])


@pytest.mark.parametrize(("part", "left", "tmp"), [(0.45, 0, False), (0.7, 100_000, True)])
def test_a_disk_that_is_full_for_good_loses_nothing_of_a_run(place: Place, part: float, left: int, tmp: bool) -> None:
    place.full("train", int(part * place.whole.changes["train"]), left, tmp=tmp)
    nothing_is_wrong(place)


def test_a_disk_that_is_full_for_a_moment_is_waited_for(place: Place) -> None:
    place.full("train", int(0.6 * place.whole.changes["train"]), 0, 1.0, tmp=True)
    assert list(place.count.ends) == ["FINISHED with exit code 0"]
    nothing_is_wrong(place)


@pytest.mark.parametrize(("way", "part"), [("resume", 0.6), ("sync", 0.5)])
def test_a_full_disk_loses_nothing_of_what_was_killed_before(place: Place, way: str, part: float) -> None:
    place.full(way, int(part * place.changes(way)), 20_000)
    nothing_is_wrong(place)


def test_a_full_disk_loses_nothing_of_a_sweep(place: Place, empty_store: Path) -> None:
    with disk.small(place.folder.parent / "sweep" / "disk") as small:
        assert small is not None
        sweep = Place(small, empty_store, SWEEP)
        sweep.full("train", int(0.55 * sweep.whole.changes["train"]), 100_000)
        nothing_is_wrong(sweep)


def test_an_interruption_does_not_wait_for_a_full_disk(start: Start, tmp_path: Path) -> None:
    run = start(epochs=20)
    with disk.small(tmp_path / "disk") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        run.folder = run.written.folder = small.folder
        small.fill(0)
        begun = time.monotonic()
        with pytest.raises(Interrupted) as stop:
            drive(run, stop=lambda: Interrupted(signal.SIGTERM) if run.state.step == 5 else None)
        assert time.monotonic() - begun < durable.PATIENCE, "nobody has waited"
        run.folder = run.written.folder = tmp_path / "gone"
    [note] = stop.value.__notes__
    assert "its checkpoint is not saved" in note
    assert "no space left" in note


def test_outputs_larger_than_the_disk_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in memory, and where a disk has no room for that, the system kills the process: the control."""
    model, x = nn.Sequential(OrderedDict(wide=nn.Linear(1, 1000))), torch.zeros(5000, 1)
    with disk.small(tmp_path / "disk", "4m") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        with pytest.raises(OSError, match="No space left on device"):
            forward.write_outputs(model, [x], len(x), small.folder / "guarded")
        small.clear()
        monkeypatch.setattr(durable, "fill", lambda path: None)

        def unguarded() -> None:
            faulthandler.disable()  # it would print pages of what is expected
            forward.write_outputs(model, [x], len(x), small.folder / "plain")

        assert test_durable.forked(unguarded) == -signal.SIGBUS


# At the start


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as error:
        act()
    text = str(error.value)
    assert "\n" not in text
    assert not any(page in text for page in PAGES)
    return text


def begun(uri: str) -> None:
    with recording.recording(uri, "tests", None, {}, {}, {}):
        raise AssertionError


def test_a_read_only_disk_is_a_sentence(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with disk.small(tmp_path / "disk") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        shutil.copy(empty_store, small.folder / "mlflow.db")
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        folder = small.folder / ".runner" / "spool" / ("0" * 32)
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-o", "remount,ro", small.folder], check=True)
        uri = f"sqlite:///{small.folder}/mlflow.db"
        assert "cannot be written; name another file" in refused(lambda: uris.check(uri))
        assert "Read-only file system" in refused(lambda: begun(uri))
        monkeypatch.chdir(small.folder)  # a server's runs have their spools here
        assert "Read-only file system" in refused(lambda: begun("http://127.0.0.1:1"))
        assert "Read-only file system" in sync.settle(folder).message


def test_a_locked_store_is_a_sentence(empty_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_store, path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        text = refused(lambda: stores.open_store(f"sqlite:///{path}"))
    assert "another program has locked the tracking store; try again when it is done" in text


def limited(place: str, size: int) -> None:
    """In a process of its own: no file may have more bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    command._child(("experiments=disk",), place, f"{place}/../.out", f"{place}/../.err", {})


@pytest.mark.parametrize(("size", "code", "words"), [(2_000, 2, "tracking.uri: "), (100_000, 1, "ulimit -f allows")])
def test_a_limit_for_the_size_of_files_is_a_sentence(
    empty_store: Path, tmp_path: Path, size: int, code: int, words: str
) -> None:
    place = tmp_path / "here"
    place.mkdir()
    furnish(place, empty_store)
    process = command._context.Process(target=limited, args=(str(place), size))
    process.start()
    done = command.ended(process, tmp_path, code)
    assert words in done.err
    assert not any(page in done.err for page in PAGES)
    for folder in spools(place):  # without the limit all of it is delivered
        assert not sync.settle(folder).undelivered
    assert {run.status for run in records(place)} <= {"FAILED", "FINISHED"}  # as it has earned, now that all is there


def test_a_store_that_the_disk_has_no_room_for_is_a_sentence_and_leaves_nothing(
    empty_store: Path, tmp_path: Path
) -> None:
    place = tmp_path / "here"
    place.mkdir()
    furnish(place, empty_store)
    (place / "mlflow.db").unlink()
    process = command._context.Process(target=limited, args=(str(place), 200_000))
    process.start()
    done = command.ended(process, tmp_path, 2)
    assert done.err.startswith("tracking.uri: ")
    assert done.err.count("\n") == 1, done.err
    assert {path.name for path in place.glob("mlflow.db*")} <= {"mlflow.db.lock"}
