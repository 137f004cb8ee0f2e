"""A system clock that is set back or forward, and machines whose clocks differ: nothing is negative or given up."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runner.sweeps.report import rows
from runner.sweeps.report.progress import left
from runner.tracking import recording
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import spool, tracker
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import settle
from runner.training.events import Epoch, Snapshot, Step
from tests.support import strange
from tests.support.strange import Repository

DAY = 86400.0
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the clock of this process, by so many seconds from the right time."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    return lambda seconds: offset.__setitem__(0, seconds)


def checkpoint(folder: Path, step: int) -> Snapshot:
    place = folder / f"last-{step}"
    place.mkdir()
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot("last", step, place)


@pytest.mark.parametrize("jump", [-DAY, DAY, -400 * DAY], ids=["back", "forward", "to the beginning"])
def test_a_clock_that_is_set_during_a_run_costs_nothing(store: str, tmp_path: Path, clock: Clock, jump: float) -> None:
    with recording.recording(store, "tests", None, {}, {}, {"a.txt": "a"}) as told:
        told.record(Step(1, torch.tensor(1.0)))
        told.record(Epoch(1, 1, {"valid/loss": 1.0}))
        told.drain()
        clock(jump)
        assert stores.rows(store)[0].status == "RUNNING"  # which reconciles
        told.record(Step(2, torch.tensor(2.0)))
        told.record(Epoch(2, 2, {"valid/loss": 2.0}))
        told.record(checkpoint(tmp_path, 2))
        told.drain()
    run = stores.open_store(store).get_run(told.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert run.data.metrics == {"train/loss": 2.0, "valid/loss": 2.0}, "the newest by step"
    assert run.data.tags["checkpoint.last"] == "checkpoints/last-2"
    assert [row.seconds is not None and row.seconds >= 0 for row in stores.rows(store)] == [True]
    # And goes on, with a clock that says that it has not begun yet.
    clock(jump - 10 * DAY)
    with recording.recording(store, "", None, {}, {}, {}, told.run_id) as told:
        assert stores.rows(store)[0].status == "RUNNING"
        told.record(Step(3, torch.tensor(3.0)))
    run = stores.open_store(store).get_run(told.run_id)
    assert run.info.end_time >= run.info.start_time
    assert run.data.metrics["train/loss"] == 3.0


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_spool_is_delivered_whatever_the_clock_says(
    store: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    strange.create(store)
    monkeypatch.setattr(tracker, "CLOSING", 0.0)

    def act() -> None:
        with recording.recording(store, "tests", None, {}, {}, {}) as told:
            Repository.away = OSError("away")
            told.record(Step(1, torch.tensor(1.0)))
            told.record(checkpoint(tmp_path, 1))

    with pytest.raises(Undelivered):
        act()
    Repository.away = None
    clock(jump)
    [folder] = spool.folders(store)
    assert not settle(folder).undelivered
    run = stores.open_store(store).get_run(folder.name)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train/loss": 1.0})
    assert run.info.end_time >= run.info.start_time


def other_machines(store: str, clock: Clock) -> str:
    """The id of a run that another machine works at."""
    clock(0.0)
    tags = {
        reconcile.PROCESS: json.dumps({**liveness.process(), "machine": "another"}),
        reconcile.HEARTBEAT: str(time.time()),
    }
    return str(stores.open_store(store).create_run("0", tags=tags, start_time=int(time.time() * 1000)).info.run_id)


@pytest.mark.parametrize("ahead", [-DAY, -2 * DAY, -20_000 * DAY, -0.9 * reconcile.GRACE, 0.9 * reconcile.GRACE])
def test_a_clock_that_is_behind_gives_up_no_run_of_another_machine(store: str, clock: Clock, ahead: float) -> None:
    run_id = other_machines(store, clock)
    clock(ahead)
    reconcile.reconcile(stores.open_store(store))
    assert stores.open_store(store).get_run(run_id).info.status == "RUNNING"


def test_a_run_that_a_clock_ahead_has_given_up_runs_again(
    store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "BEAT", 0.05)
    monkeypatch.setattr(reconcile, "RECHECK", 0.0)
    mine = liveness.process()
    with recording.recording(store, "tests", None, {}, {}, {}) as told:
        client = stores.open_store(store)
        monkeypatch.setattr(liveness, "is_gone", lambda process: None)  # as another machine sees it
        clock(DAY)
        assert reconcile.reconcile(client) in ([told.run_id], [])  # unless a heartbeat came in between
        client.set_terminated(told.run_id, "KILLED")
        clock(0.0)
        until = time.monotonic() + 60
        while client.get_run(told.run_id).info.status != "RUNNING":
            assert time.monotonic() < until
            time.sleep(0.02)
        # Not so if somebody else goes on with it.
        client.set_tag(told.run_id, reconcile.PROCESS, json.dumps({**mine, "pid": 1}))
        client.set_terminated(told.run_id, "KILLED")
        reconcile.revive(client, told.run_id)
        assert client.get_run(told.run_id).info.status == "KILLED"


def test_a_run_that_was_killed_under_a_clock_ahead_does_not_end_before_it_began(store: str, clock: Clock) -> None:
    client = stores.open_store(store)
    process = json.dumps({**liveness.process(), "start": "1"})
    tags = {reconcile.PROCESS: process, reconcile.HEARTBEAT: str(time.time() + 30 * DAY)}
    run_id = client.create_run("0", tags=tags, start_time=int((time.time() + 30 * DAY) * 1000)).info.run_id
    assert reconcile.reconcile(client) == [run_id]
    run = client.get_run(run_id)
    assert run.info.end_time >= run.info.start_time


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_a_sweeps_table_knows_no_negative_time(store: str, clock: Clock, seconds: float) -> None:
    job: Any = SimpleNamespace(number=0, varied=[])
    run = stores.open_store(store).create_run("0")
    clock(seconds)
    [row] = rows.rows([job], {0: 10}, {0: run}, {}, "valid/loss")
    assert row.seconds is not None
    assert row.seconds >= 0
    row.epoch = 5
    assert left(row) is None or 0 <= left(row) < float("inf")  # type: ignore[operator]
