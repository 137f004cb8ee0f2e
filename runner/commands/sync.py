"""Deliver what a tracking server could not take."""

import os

from runner.settings import Settings
from runner.settings.context import Context


def with_settings(settings: Settings, context: Context, *, forget: str = "") -> int:
    """Deliver every spool of the working directory and of the store; returns 1 if anything is left or lost.

    `tracking.uri=http://...` on the command line is where to deliver what was meant for a server that has moved. What
    this user's runs have left goes to the server that it was for; what came from elsewhere goes to none that is not
    typed or in MLFLOW_TRACKING_URI or RUNNER_PLACES.

    forget: a run id, or a unique prefix of one: deletes what that run has yet to deliver, and delivers nothing.
    """
    from runner.settings.trust import permission, terminal
    from runner.tracking.store import stores
    from runner.tracking.write import spool, sync

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # nothing else waits meanwhile
    uri = settings.tracking.uri
    if forget:
        terminal.put(sync.forget(uri, forget))
        return 0
    moved = uri if permission.wholly("tracking.uri", uri) and stores.sqlite_path(uri) is None else None
    left = False
    folders = spool.folders(uri)
    if not folders:
        looked = " and ".join(map(str, sorted({spool.place(uri), spool.place("")})))
        terminal.put(f"nothing to deliver: no undelivered runs in {looked}")
    for folder in folders:
        done = sync.settle(folder, moved, permission.places(), uri)
        left = left or done.undelivered or done.lost
        terminal.put(f"run {done.run_id}: {'not delivered: ' * done.undelivered}{done.message}")
    return int(left)
