"""A table of runs."""

import time

from runner.context import Context
from runner.settings import Settings


def with_settings(settings: Settings, context: Context) -> int:
    """Print the newest runs of the tracking store; `tracking.experiment=NAME` shows those of one experiment."""
    from rich.table import Table

    from runner import screen, stores

    found = stores.rows(settings.tracking.uri, settings.tracking.experiment)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "name", "experiment", "status", "started", "took", "results"):
        table.add_column(heading, no_wrap=heading != "results")
    for row in found:
        took = "" if row.seconds is None else f"{row.seconds:.1f} s"
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.started))
        last = {k: v for k, v in sorted(row.metrics.items()) if k not in ("lr", "epoch")}
        table.add_row(row.run_id[:8], row.name, row.experiment, row.status, started, took, screen.figures(last))
    screen.console().print(table if found else f"no runs in {settings.tracking.uri}")
    return 0
