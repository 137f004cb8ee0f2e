"""Runs whose process is gone without having ended them: the next command on their store sets them to KILLED."""

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
from runner.tracking.store import liveness, search
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
#: Seconds without a heartbeat after which a process that cannot be seen from this machine counts as gone.
GRACE = 3600.0
#: Seconds after which a process checks again that no other one has set its run to KILLED.
RECHECK = 300.0
#: Seconds by which another machine's clock may be ahead of this one's.
AHEAD = 86400.0
#: The last time that can be written as a date: the end of the year 9999.
LATEST = 253402300799.0


def tags() -> dict[str, str]:
    """Return the tags of a run that belongs to this process."""
    return {PROCESS: json.dumps(liveness.process()), HEARTBEAT: str(int(time.time()))}


def reconcile(client: "MlflowClient") -> list[str]:
    """Set runs whose process is gone to KILLED, with the reason as a tag. Returns their ids.

    Left alone are runs whose process lives or may live, runs of other programs, and runs whose end waits in a spool.
    Raises MlflowException if the store does not answer.
    """
    experiments = [e.experiment_id for e in client.search_experiments()]
    running = search.runs(client, experiments, "attributes.status = 'RUNNING'") if experiments else []
    dead = [run.info.run_id for run in running if _why(run)]
    return [run_id for run_id in dead if not waits(client, run_id) and _end(client, run_id)]


def revive(client: "MlflowClient", run_id: str) -> None:
    """Set a run of this process to RUNNING again, if another machine, whose clock is ahead, has set it to KILLED."""
    run = client.get_run(run_id)
    if run.info.status == "KILLED" and owner(run) == liveness.process():
        client.update_run(run_id, status="RUNNING")


def waits(client: "MlflowClient", run_id: str) -> bool:
    """Return whether the run's end is in a spool here and not in the store yet: `runner sync` delivers it."""
    log = spool.place(client.tracking_uri) / run_id / "log.jsonl"
    with contextlib.suppress(Exception):  # of a spool that cannot be read nothing is known
        return any("end" in entry for entry, _ in Journal(log).entries())
    return False


#: Store -> when this process has last reconciled it.
_reconciled: dict[str, float] = {}


def seldom(client: "MlflowClient") -> None:
    """Reconcile, unless this process has done it within BEAT: the jobs of a sweep begin one after the other."""
    uri = str(client.tracking_uri)
    if time.monotonic() - _reconciled.get(uri, -BEAT) >= BEAT:
        _reconciled[uri] = time.monotonic()
        reconcile(client)


def owner(run: "Run") -> dict[str, Any]:
    """Return the process that the run belongs to, as `liveness.process` describes one; {} for a run of another program.

    {} too for a tag that cannot be read: one run among others must not stop a command.
    """
    try:
        process: dict[str, Any] = record_reading.tag(run.data.tags, PROCESS, dict[str, Any], {})
    except ConfigError:
        return {}
    texts = all(isinstance(process.get(key), str) for key in ("host", "machine"))
    texts, pid = texts and isinstance(process.get("start", ""), str | None), process.get("pid")
    return process if texts and type(pid) is int and 0 < pid < 2**31 else {}


def changing(client: "MlflowClient") -> "BaseFileLock":
    """Return the lock to hold while a run is given to a process, or taken from one that is gone.

    The lock of a local store is beside it: another process may have another folder for temporary files.
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
                raise  # the store does not answer; a run that it refuses to change does not keep the others
            return False
    return bool(why)


def _why(run: "Run") -> str:
    """Return why the run's process counts as gone; "" if it lives, or may live."""
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
    """Return when its process was last heard of, in seconds since 1970; a heartbeat from the future does not count."""
    now, began = time.time(), _began(run)
    if began > now + AHEAD:  # one of two clocks is wrong, which does not make a process silent
        return now
    beat = record_reading.number(run.data.tags.get(HEARTBEAT), 0.0)
    return max(beat if beat <= now + AHEAD else 0.0, began)


def _began(run: "Run") -> float:
    return min(max(record_reading.number(run.info.start_time, 0.0) / 1000, 0.0), LATEST)


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
