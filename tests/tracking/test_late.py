"""Sent late = sent at once: whenever a store goes away and comes back, it has the same in the end."""

import dataclasses
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example
from hypothesis import strategies as st

from runner.settings import Checkpoint, Settings
from runner.tracking import recording
from runner.tracking.write import background, spool, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.drive import drive
from runner.training.events import Artifacts, Event, Snapshot, Step
from runner.training.prepare import prepare
from tests.support import composing, strange
from tests.support.experiments import KINDS, SOME, brief, here

#: Optimizer steps of an experiment; more of them are more of the same.
STEPS = 12
#: Tags of the moment.
VOLATILE = ("runner.heartbeat", "mlflow.runName")


class Recorder:
    """Keeps events, and what is in their folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, list[Event]()

    def record(self, event: Event) -> None:
        self.events.append(copied(event, self.folder / str(len(self.events))))


def copied(event: Event, folder: Path) -> Event:
    if not isinstance(event, Snapshot | Artifacts):
        return event
    return dataclasses.replace(event, folder=shutil.copytree(event.folder, folder))


def happened(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Event]]:
    """What happens in each of the experiments that come with the package, by name."""
    with composing.hydra():
        all_settings = {path.stem: composing.settings(f"experiments={path.stem}") for path in files}
    recorded = {}
    for name, settings in all_settings.items():
        recorder = Recorder(tmp_path_factory.mktemp(name))
        trained(settings, recorder)
        recorded[name] = recorder.events
    return recorded


def trained(settings: Settings, recorder: Recorder) -> None:
    trainer = dataclasses.replace(brief(settings.trainer, 2), threads=1)
    changed = dataclasses.replace(settings, trainer=trainer, plots=[], checkpoint=Checkpoint(1), device="cpu")
    run = prepare(changed, "late")
    try:
        drive(run, recorder)
    finally:
        run.close()
    steps = [event for event in recorder.events if isinstance(event, Step)]
    recorder.events = [event for event in recorder.events if event not in steps[STEPS:]]


def told(uri: str, events: list[Event], moods: list[bool]) -> str:
    """Record the events into the store, which is away wherever `moods` says so; deliver what is left. The run's id."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:  # as a run's own is called; no other would be sent
        return _told(uri, events, Path(folder), moods)


def _told(uri: str, events: list[Event], folder: Path, moods: list[bool]) -> str:
    block, strange.Repository.away = max(len(events) // len(moods), 1), None
    try:
        with recording.recording(uri, "tests", "late", {"a": "b"}, {"seed": "0"}, {"a/b.txt": "c"}) as record:
            for number, event in enumerate(events):
                record.record(copied(event, folder / str(number)))
                if number % block == 0:
                    record.drain()
                    is_away = moods[min(number // block, len(moods) - 1)]
                    strange.Repository.away = strange.Strange("gone") if is_away else None
    except Undelivered:
        strange.Repository.away = None
        [left] = spool.folders(uri)
        settled = settle(left)
        assert not settled.undelivered, settled.message
    assert spool.folders(uri) == []
    return record.run_id


def content(uri: str, run_id: str) -> dict[str, Any]:
    """All that the store has of the run."""
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
    tables = {
        "metrics": "SELECT key, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step",
        "latest": "SELECT key, value, step, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key",
        "params": "SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key",
        "tags": f"SELECT key, value FROM tags WHERE run_uuid = ? AND key NOT IN {VOLATILE} ORDER BY key",
        "status": "SELECT status FROM runs WHERE run_uuid = ?",
    }
    found: dict[str, Any] = {name: list(connection.execute(query, (run_id,))) for name, query in tables.items()}
    connection.close()
    folder = strange.place(uri) / run_id / "artifacts"
    found["files"] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found


class Known:
    """A store that was there all the time: what happened in each experiment, and what it has of that, by name."""

    def __init__(self, uri: str, events: dict[str, list[Event]], content: dict[str, Any]) -> None:
        self.uri, self.events, self.content = uri, events, content

    def __repr__(self) -> str:  # hypothesis would write all of it out
        return "the store"


@pytest.fixture(scope="module", params=KINDS)
def known(empty_store: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Known:
    folder = tmp_path_factory.mktemp("late")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = strange.create(f"sqlite:///{folder}/mlflow.db")
    events = happened(here(request.param), tmp_path_factory)
    ids = {name: told(uri, these, [False]) for name, these in events.items()}
    return Known(uri, events, {name: content(uri, run_id) for name, run_id in ids.items()})


@example(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(st.booleans(), min_size=1, max_size=6))
def test_what_is_sent_late_is_what_is_sent_at_once(
    known: Known,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    moods: list[bool],
) -> None:
    name = data.draw(st.sampled_from(sorted(known.events)))
    monkeypatch.setattr(background, "AGAIN", 0.0)
    monkeypatch.setattr(tracker, "CLOSING", 0.2)
    run_id = told(known.uri, known.events[name], moods)
    late, at_once = content(known.uri, run_id), known.content[name]
    assert late.keys() == at_once.keys()
    for table, rows in at_once.items():
        assert late[table] == rows, table


def test_every_experiment_has_something_to_send(known: Known) -> None:
    assert len(known.content) >= len(here(SOME))
    for name, stored in known.content.items():
        assert stored["status"] == [("FINISHED",)], name
        assert {"predictions.npy", "predictions.npz"} & stored["files"].keys(), name
