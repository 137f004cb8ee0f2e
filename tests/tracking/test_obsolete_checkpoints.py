"""An error while an old checkpoint is deleted, or a delivery noted, is of one run, and costs it nothing."""

import errno
from pathlib import Path
from typing import Any

import pytest

from runner.tracking.store import artifacts, stores
from runner.tracking.write import spool
from runner.tracking.write.spool import Spool
from runner.tracking.write.tracker import Tracker
from runner.training.events import Snapshot
from tests.tracking.test_many_records import alone, content, ended, events, opened


def recorded(trackers: list[Tracker], folder: Path) -> list[Exception | None]:
    """Record all runs in turns, and have each checkpoint delivered before what follows."""
    for moment in zip(*(events(folder / str(i)) for i in range(len(trackers))), strict=True):
        for tracker, event in zip(trackers, moment, strict=True):
            tracker.record(event)
        if isinstance(moment[0], Snapshot):
            for tracker in trackers:
                tracker.drain()
    return ended(trackers)


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[object]:
    """Let one call of a function fail. Returns a list in which that call is noted."""
    real, failed = getattr(owner, name), []

    def failing(*args: Any, **named: Any) -> Any:
        if not failed:
            failed.append(args)
            raise OSError(errno.EIO, "Input/output error")
        return real(*args, **named)

    monkeypatch.setattr(owner, name, failing)
    return failed


@pytest.mark.parametrize(("owner", "name"), [(artifacts, "delete"), (Spool, "mark")])
@pytest.mark.parametrize("count", [1, 4])
def test_an_error_after_a_delivery_leaves_every_run_whole(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, count: int
) -> None:
    trackers = opened(store, count)
    failed = fail_once(monkeypatch, owner, name)
    assert recorded(trackers, tmp_path / "many") == [None] * count
    assert failed, "the control: the error was there"
    client = stores.open_store(store)
    assert [client.get_run(one.run_id).info.status for one in trackers] == ["FINISHED"] * count
    expected = content(store, alone(store, tmp_path / "alone"))
    for tracker in trackers:
        assert content(store, tracker.run_id) == expected
    assert spool.folders(store) == []
