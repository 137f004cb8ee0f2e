"""Deliver what a tracking server could not take."""

import os

from runner.context import Context
from runner.settings import Settings


def with_settings(settings: Settings, context: Context) -> int:
    """Deliver every spool of the working directory and of the store; returns 1 if anything is left, 0 otherwise.

    `tracking.uri=http://...` on the command line is where to deliver what was meant for a server that has moved. What
    this user's runs have left goes to the server that it was for; what came from elsewhere goes to none that is not
    typed or in MLFLOW_TRACKING_URI or RUNNER_PLACES.
    """
    from runner import secrets, spool, stores
    from runner.settling import settle

    uri = settings.tracking.uri
    typed = any(word.startswith("tracking.uri=") for word in context.overrides)
    moved = uri if typed and stores.sqlite_path(uri) is None else None
    named = [os.environ.get("MLFLOW_TRACKING_URI", ""), *os.environ.get("RUNNER_PLACES", "").split(",")]
    left = False
    folders = list(spool.found(uri))
    if not folders:
        looked = " and ".join(map(str, sorted({spool.place(uri), spool.place("")})))
        print(f"nothing to deliver: no undelivered runs in {looked}")
    for folder in folders:
        done = settle(folder, moved, named, uri)
        left = left or done.left
        print(f"run {done.run_id}: {'not delivered: ' * done.left}{secrets.masked(done.said)}", flush=True)
    return int(left)
