"""The command `sync`: deliver records that have not reached their tracking store."""

import os
from typing import Any

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context


def with_settings(settings: Settings, context: Context, *, forget: str = "") -> Result:
    """Deliver every spool of the working directory and of the store; return 1 if anything is undelivered or lost.

    Spools of this user's runs are delivered to the server that they were written for, or to the `tracking.uri=http://...`
    typed on the command line if that server has moved. Spools from elsewhere are delivered only to servers that are
    typed, or named in MLFLOW_TRACKING_URI or RUNNER_PLACES.
    forget: a run id, or a unique prefix of one; deletes the spool of that run, and delivers nothing.
    """
    from runner.settings.trust import permission, terminal
    from runner.tracking.store import stores
    from runner.tracking.write import spool, sync

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # sync may wait; nothing else does meanwhile
    uri = settings.tracking.uri
    if forget:
        message = sync.forget(uri, forget)
        return Result({"forgotten": forget, "message": message}, lambda: terminal.put(message))
    moved = uri if permission.wholly("tracking.uri", uri) and stores.sqlite_path(uri) is None else None
    runs: list[dict[str, Any]] = []
    folders = spool.folders(uri)
    if not folders:
        places = " and ".join(map(str, sorted({spool.place(uri), spool.place("")})))
        terminal.put(f"nothing to deliver: no undelivered runs in {places}")
    for folder in folders:
        done = sync.settle(folder, moved, permission.places(), uri)
        runs.append(
            {"run": done.run_id, "delivered": not done.undelivered, "lost": bool(done.lost), "message": done.message}
        )
        terminal.put(f"run {done.run_id}: {'not delivered: ' * done.undelivered}{done.message}")
    failed = any(run["lost"] or not run["delivered"] for run in runs)
    return Result({"runs": runs}, nothing, int(failed))
