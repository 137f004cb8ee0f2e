"""Runs whose process has died without a word are set to KILLED by the next command on their store."""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import record_reading
from runner.tracking.store import liveness
from runner.tracking.write import spool
from runner.tracking.write.journal import Journal

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: The tags by which a run's process is found.
PROCESS, HEARTBEAT = "runner.process", "runner.heartbeat"
#: Seconds between two heartbeats.
BEAT = 30.0
#: A process that cannot be seen from here is given up when it was silent for so many seconds.
GRACE = 3600.0
#: Seconds between two looks of a process at whether its run was given up all the same.
LOOK = 300.0
#: Seconds by which another machine's clock may be ahead of this one's.
AHEAD = 86400.0
#: The last time that can be written as a date: the end of the year 9999.
LATEST = 253402300799.0


def tags() -> dict[str, str]:
    """The tags of a run that belongs to this process."""
    return {PROCESS: json.dumps(liveness.process()), HEARTBEAT: str(int(time.time()))}


def reconcile(client: "MlflowClient") -> list[str]:
    """Set what nobody works at any more to KILLED, with the reason, and return the ids. Live runs are left alone."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000) if experiments else []
    dead = [run.info.run_id for run in running if _why(run)]
    return [run_id for run_id in dead if not waits(client, run_id) and _end(client, run_id)]


def revive(client: "MlflowClient", run_id: str) -> None:
    """Let a run of this process be RUNNING again, if another machine, whose clock is ahead, has set it to KILLED."""
    run = client.get_run(run_id)
    if run.info.status == "KILLED" and owner(run) == liveness.process():
        client.update_run(run_id, status="RUNNING")


def waits(client: "MlflowClient", run_id: str) -> bool:
    """Whether a spool here knows how the run has ended, which the store has yet to be told: `runner sync`."""
    log = spool.place(client.tracking_uri) / run_id / "log.jsonl"
    with contextlib.suppress(Exception):  # a spool that cannot be read says nothing
        return any("end" in entry for entry, _ in Journal(log).entries())
    return False


#: When this process has last looked for dead runs, by store.
_looked: dict[str, float] = {}


def seldom(client: "MlflowClient") -> None:
    """Reconcile, unless this process has just done it: the jobs of a sweep begin one after the other."""
    uri = str(client.tracking_uri)
    if time.monotonic() - _looked.get(uri, -BEAT) >= BEAT:
        _looked[uri] = time.monotonic()
        reconcile(client)


def owner(run: "Run") -> dict[str, Any]:
    """The process that the run belongs to: pid, host, ...; empty if another program has made it.

    So is one whose tag cannot be read: it must not stop commands that come upon it among other runs.
    """
    try:
        found: dict[str, Any] = record_reading.tag(run.data.tags, PROCESS, dict[str, Any], {})
    except ConfigError:
        return {}
    words = all(isinstance(found.get(key), str) for key in ("host", "machine"))
    words, pid = words and isinstance(found.get("start", ""), str | None), found.get("pid")
    return found if words and type(pid) is int and 0 < pid < 2**31 else {}


def changing(client: "MlflowClient") -> "BaseFileLock":
    """Held while a run is given to a process, or taken from a dead one, so that nobody does both at once.

    Of a local store it is beside it: another process may have other temporary files.
    """
    from filelock import FileLock

    path = uris.sqlite_path(str(client.tracking_uri))
    if path is not None:
        return FileLock(f"{path}.lock")
    user = os.getuid() if hasattr(os, "getuid") else ""
    return FileLock(Path(tempfile.gettempdir()) / f"runner-{user}.lock")


def _end(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    with changing(client):
        try:
            run = client.get_run(run_id)  # it may have been resumed, reconciled or deleted meanwhile
            why = _why(run)
            if why:
                client.set_tag(run_id, "runner.status_reason", why)
                client.set_terminated(run_id, "KILLED", int(max(_heard(run), _began(run)) * 1000))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"):
                raise  # the store does not answer; one run that it will not change is no reason to leave the others
            return False
    return bool(why)


def _why(run: "Run") -> str:
    """Why nobody works at the run any more; "" if somebody does, or may."""
    process, silent = owner(run), time.time() - _heard(run)
    if run.info.status != "RUNNING" or PROCESS not in run.data.tags:
        return ""
    if not process:
        why = f"its tag {PROCESS} cannot be read, and it was last heard of at {_at(_heard(run))}"
        return why if silent > GRACE else ""
    host = record_reading.cut(record_reading.line(process["host"]), 250)
    who, last = f"its process (pid {process['pid']} on {host})", _at(_heard(run))
    gone = liveness.is_gone(process)
    if gone:
        return f"{who} is gone; it was last heard of at {last}"
    if gone is None and silent > GRACE:
        return f"{who} cannot be seen from here, and was last heard of at {last}"
    return ""


def _heard(run: "Run") -> float:
    """When its process was last heard of, in seconds since 1970; a heartbeat from the future is none."""
    now, began = time.time(), _began(run)
    if began > now + AHEAD:  # one of two clocks is wrong, and by that nobody is silent
        return now
    beat = record_reading.number(run.data.tags.get(HEARTBEAT), 0.0)
    return max(beat if beat <= now + AHEAD else 0.0, began)


def _began(run: "Run") -> float:
    return min(max(record_reading.number(run.info.start_time, 0.0) / 1000, 0.0), LATEST)


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
