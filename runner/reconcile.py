"""Runs whose process has died without a word are set to KILLED by the next command on their store."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import liveness

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


def tags() -> dict[str, str]:
    """The tags of a run that belongs to this process."""
    return {PROCESS: json.dumps(liveness.process()), HEARTBEAT: str(int(time.time()))}


def reconcile(client: "MlflowClient") -> list[str]:
    """Set what nobody works at any more to KILLED, with the reason, and return the ids. Live runs are left alone."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000) if experiments else []
    ids = [run.info.run_id for run in running if _why(run)]
    return [run_id for run_id in ids if _end(client, run_id)] if ids else []


#: When this process has last looked for dead runs, by store.
_looked: dict[str, float] = {}


def seldom(client: "MlflowClient") -> None:
    """Reconcile, unless this process has just done it: the jobs of a sweep begin one after the other."""
    uri = str(client.tracking_uri)
    if time.monotonic() - _looked.get(uri, -BEAT) >= BEAT:
        _looked[uri] = time.monotonic()
        reconcile(client)


def owner(run: "Run") -> dict[str, Any]:
    """The process that the run belongs to: pid, host, ...; empty if another program has made it."""
    return json.loads(run.data.tags.get(PROCESS, "{}"))  # type: ignore[no-any-return]


def changing() -> "BaseFileLock":
    """Held while a run is given to a process, or taken from a dead one, so that nobody does both at once."""
    from filelock import FileLock

    user = os.getuid() if hasattr(os, "getuid") else ""
    return FileLock(Path(tempfile.gettempdir()) / f"runner-{user}.lock")


def _end(client: "MlflowClient", run_id: str) -> bool:
    with changing():
        run = client.get_run(run_id)  # it may have been resumed or reconciled meanwhile
        why = _why(run)
        if why:
            client.set_tag(run_id, "runner.status_reason", why)
            client.set_terminated(run_id, "KILLED", int(_heard(run) * 1000))
    return bool(why)


def _why(run: "Run") -> str:
    """Why nobody works at the run any more; "" if somebody does, or may."""
    process = owner(run)
    if run.info.status != "RUNNING" or not process:
        return ""
    who, last = f"its process (pid {process['pid']} on {process['host']})", _at(_heard(run))
    gone = liveness.is_gone(process)
    if gone:
        return f"{who} is gone; it was last heard of at {last}"
    if gone is None and time.time() - _heard(run) > GRACE:
        return f"{who} cannot be seen from here, and was last heard of at {last}"
    return ""


def _heard(run: "Run") -> float:
    return float(max(float(run.data.tags.get(HEARTBEAT, 0)), run.info.start_time / 1000))


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
