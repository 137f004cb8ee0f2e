"""Runs whose process is gone are set to KILLED by the next command on their store, and no others."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException

from runner.settings.errors import ConfigError
from runner.tracking import recording
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import spool
from runner.training.events import Step
from tests.support import command


def _work(uri: str, ends: bool = False) -> None:
    """A run that takes a step every hundredth of a second, for ever."""
    with recording.recording(uri, "tests", None, {}, {}, {}) as tracker:
        step = 0
        while not ends:
            tracker.record(Step(step := step + 1, torch.tensor(0.5)))
            time.sleep(0.01)


def working(uri: str) -> Any:
    """A process at work on a run whose first points are in the store."""
    process = command._context.Process(target=_work, args=(uri,))
    process.start()
    while not any(row.metrics for row in stores.rows(uri)):
        time.sleep(0.1)
        assert process.is_alive()
    return process


def statuses(uri: str) -> list[str]:
    """As `runner runs` shows them, which is a command on the store."""
    return [row.status for row in stores.rows(uri)]


def test_a_stopped_process_is_left_alone_and_a_killed_one_is_not(store: str, monkeypatch: pytest.MonkeyPatch):
    process = working(store)
    client, run_id = stores.open_store(store), stores.rows(store)[0].run_id
    try:
        os.kill(process.pid, signal.SIGSTOP)
        client.set_tag(run_id, reconcile.HEARTBEAT, "0")
        monkeypatch.setattr(reconcile, "GRACE", -1.0)
        assert statuses(store) == ["RUNNING"]
        with pytest.raises(ConfigError, match=f"still at work, in process {process.pid} on "), continued(store, run_id):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert statuses(store) == ["KILLED"]
    run = client.get_run(run_id)
    assert run.data.tags["runner.status_reason"].startswith(f"its process (pid {process.pid} on ")
    assert "is gone; it was last heard of at 2" in run.data.tags["runner.status_reason"]
    assert run.info.end_time >= run.info.start_time
    # and it can be continued
    with continued(store, run_id) as tracker:
        assert statuses(store) == ["RUNNING"]
        tracker.record(Step(1, torch.tensor(0.5)))
    assert statuses(store) == ["FINISHED"]
    steps = [m.step for m in client.get_metric_history(run_id, "train/loss")]
    assert len(steps) == len(set(steps)) > 1


def continued(store: str, run_id: str) -> Any:
    return recording.recording(store, "", None, {}, {}, {}, run_id)


def made(store: str, process: dict[str, Any] | None, heard: float = 0.0) -> None:
    client = stores.open_store(store)
    tags = {} if process is None else {reconcile.PROCESS: json.dumps(process), reconcile.HEARTBEAT: str(heard)}
    client.create_run("0", tags=tags, start_time=1)


def dead() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("process", "silent", "expected"),
    [
        (lambda: None, 1e9, "RUNNING"),  # of another program
        (liveness.process, 1e9, "RUNNING"),
        (lambda: {**liveness.process(), "pid": dead()}, 0, "KILLED"),
        (lambda: {**liveness.process(), "start": "1"}, 0, "KILLED"),  # the pid was given to a new process
        (lambda: {**liveness.process(), "machine": "another", "pid": dead()}, reconcile.GRACE - 60, "RUNNING"),
        (lambda: {**liveness.process(), "machine": "another"}, reconcile.GRACE + 60, "KILLED"),
    ],
)
def test_what_is_seen_of_its_process_decides(store: str, process: Callable[[], Any], silent, expected):
    made(store, process(), time.time() - silent)
    assert statuses(store) == [expected]


def test_a_process_that_has_ended_but_was_not_waited_for_is_gone():
    process = subprocess.Popen(["sleep", "600"])
    told = {**liveness.process(), "pid": process.pid, "start": liveness._start(process.pid)}
    assert liveness.is_gone(told) is False
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert liveness.is_gone(told)
    process.wait()


def test_a_process_is_told_by_its_start_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch):
    if not any((Path(p) / "ps").exists() for p in os.environ["PATH"].split(":")):
        pytest.skip("there is no ps")
    monkeypatch.setattr(liveness, "Path", lambda path: Path("/nowhere") / path.removeprefix("/"))
    start = liveness._start(os.getpid())
    assert start
    assert start == liveness._start(os.getpid())
    assert not liveness._start(dead())


def test_a_run_that_was_given_up_runs_again_with_its_next_heartbeat(store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconcile, "BEAT", 0.05)
    monkeypatch.setattr(reconcile, "GRACE", 0.0)
    with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
        client = stores.open_store(store)
        client.set_terminated(tracker.run_id, "KILLED")
        assert client.get_run(tracker.run_id).info.end_time is not None
        while client.get_run(tracker.run_id).info.status != "RUNNING":
            time.sleep(0.02)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


# Many at once


def _open_and_record(uri: str) -> None:
    _work(uri, ends=True)


def store_race(repetitions: int, processes: int = 8) -> list[int]:
    """How many of so many processes succeed that start at once on a store that does not exist, each time."""
    found = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            uri = f"sqlite:///{folder}/mlflow.db"
            started = [command._context.Process(target=_open_and_record, args=(uri,)) for _ in range(processes)]
            for process in started:
                process.start()
            for process in started:
                process.join(command.HANGS)
            finished = statuses(uri).count("FINISHED")
            found.append(min(finished, sum(process.exitcode == 0 for process in started)))
    return found


def test_eight_processes_create_one_store_at_once():
    assert store_race(1) == [8]


def figure_store_race(repetitions: int = 20) -> str:
    """One line for the table of figures."""
    found = store_race(repetitions)
    return f"8 processes on a store that does not exist: 8 of 8 in {found.count(8)} of {repetitions} repetitions"


def figure_live_runs(repetitions: int = 100) -> str:
    """One line for the table of figures: runs that are alive, stopped or dead, and commands that come upon them."""
    touched = missed = 0
    grace, reconcile.GRACE = reconcile.GRACE, -1.0  # past it at once
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        process = working(uri)
        [row] = stores.rows(uri)
        try:
            for repetition in range(repetitions):
                while True:
                    os.kill(process.pid, signal.SIGCONT if repetition % 2 else signal.SIGSTOP)
                    try:
                        made(uri, {**liveness.process(), "pid": dead()})
                        break
                    except MlflowException:  # it was stopped while it held the lock of the store's file
                        os.kill(process.pid, signal.SIGCONT)
                found = {r.run_id: r.status for r in stores.rows(uri, most=repetitions + 1)}
                touched += found.pop(row.run_id) != "RUNNING"
                missed += sum(status != "KILLED" for status in found.values())
        finally:
            reconcile.GRACE = grace
            process.kill()
            os.kill(process.pid, signal.SIGCONT)
            process.join()
    return (
        f"reconciling {repetitions} times past the grace period, the live run stopped every other time: "
        f"{touched} live runs touched, {missed} dead ones missed"
    )


def test_a_run_whose_end_waits_in_a_spool_here_is_not_called_killed(store: str) -> None:
    made(store, {**liveness.process(), "pid": dead()})
    [row] = stores.rows(store)  # which settles what has no spool
    assert row.status == "KILLED"
    stores.open_store(store).update_run(row.run_id, status="RUNNING")
    waiting = spool.create(store, row.run_id, liveness.process())
    waiting.append([{"end": "FINISHED", "reason": "", "tags": {}, "at": 1}])
    waiting.release()
    assert statuses(store) == ["RUNNING"]
    assert reconcile.waits(stores.open_store(store), row.run_id)
