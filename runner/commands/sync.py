"""Deliver what a tracking server could not take."""

from runner.context import Context
from runner.settings import Settings


def with_settings(settings: Settings, context: Context) -> int:
    """Deliver every spool of the working directory and of the store; returns 1 if anything is left, 0 otherwise.

    `tracking.uri=http://...` on the command line is where to deliver what was meant for a server that has moved.
    """
    from runner import permission, spool, stores
    from runner.settling import settle

    uri = settings.tracking.uri
    moved = uri if permission.typed("tracking.uri") and stores.sqlite_path(uri) is None else None
    left = False
    folders = list(spool.found(uri))
    if not folders:
        looked = " and ".join(map(str, sorted({spool.place(uri), spool.place("")})))
        print(f"nothing to deliver: no undelivered runs in {looked}")
    for folder in folders:
        done = settle(folder, moved)
        left = left or done.left
        print(f"run {done.run_id}: {'not delivered: ' * done.left}{done.said}", flush=True)
    return int(left)
