"""The command `best`: the configuration with the best mean over seeds, and whether it differs from the others."""

import os
import shlex
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal

if TYPE_CHECKING:
    from runner.sweeps.report.table import Row, Table

#: Configurations that are printed; `--json` has all.
SHOWN = 20


def with_words(uri: str, experiment: str, *, metric: str = "", over: str = "seed", mode: str = "") -> Result:
    """Compare all configurations of an experiment by their means over seeds, and print the best, its runs and commands.

    Runs that differ in their seed alone, or in `data.fold`, are one configuration. The best mean is the best; whether
    it differs from the others is tested, corrected for their number. The store is only read.
    metric: what is compared, at its best epoch; without it, what most runs have monitored
    over: keys whose values are one training again, with commas between them
    mode: min or max, whichever is better; without it, as recorded
    """
    return Result(value := plain(uri, experiment, metric, over, mode), lambda: terminal.put(*lines(value)))


def plain(uri: str, experiment: str, metric: str = "", over: str = "seed", mode: str = "") -> dict[str, Any]:
    """Return the comparison of all configurations (`comparison.plain`), the best run and the commands for it."""
    from runner.sweeps.report import comparison, recorded_table

    if mode not in ("", "min", "max"):
        raise ConfigError("mode", f"{mode!r} is neither min nor max")
    repeats = [key.strip() for key in over.split(",") if key.strip()]
    if not repeats:
        raise ConfigError("over", f"{over!r} names no key; expected seed, or keys with commas between them")
    table, what = recorded_table.read(uri, experiment, repeats, metric, mode)
    compared = comparison.plain(table)
    row = _run(table)
    return {
        "of": what,
        **compared,
        "uri": uri,
        "run": row.run_id if row else None,
        "commands": _commands(uri, row) if row else {},
        "says": comparison.lines(compared),
    }


def _run(table: "Table") -> "Row | None":
    """Return the best run of the best configuration, over folds too; without a comparison, the best FINISHED run."""
    one = table.best_combination
    among = {row.number for row in (one.counted if one else table.rows)}
    return next((row for row in table.ranked if row.status == "FINISHED" and row.number in among), None)


def _commands(uri: str, row: "Row") -> dict[str, str]:
    """Return the command lines that train the best run again, repeat it exactly and export it."""
    from runner.settings import Tracking
    from runner.tracking.read import recall, whole

    other = uri not in (Tracking().uri, os.environ.get("MLFLOW_TRACKING_URI", ""))
    store = [f"tracking.uri={secrets.masked_uri(uri)}"] if other else []
    run = row.run_id[:8]
    return {
        "train": shlex.join(["runner", *whole.typed_with(recall.run(uri, row.run_id).data.tags)]),
        "reproduce": shlex.join(["runner", "reproduce", run, *store]),
        "export": shlex.join(["runner", "export", run, "format=pt2", "output=model.pt2", *store]),
    }


def lines(value: dict[str, Any]) -> list[str]:
    """Return what `plain` has found as a table of configurations, and below it the best one, its runs and commands."""
    every = value["configurations"]
    cells = [["rank", "configuration", value["metric"], "runs", "p"], *map(_cells, every[:SHOWN])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    more = [f"and {len(every) - SHOWN} more"] if len(every) > SHOWN else []
    best = value["best"]
    runs = [one["run"][:8] for one in best["runs"] if one["run"]] if best else []
    return [
        terminal.line(f"{value['of']}: {len(every)} configurations, {_better(value)}"),
        *table,
        *more,
        *value["says"],
        *([f"its runs: {' '.join(runs)}"] if runs else []),
        *(f"{name:<9} {terminal.shown(command)}" for name, command in value["commands"].items()),
    ]


def _better(value: dict[str, Any]) -> str:
    return "lower is better" if value["mode"] == "min" else "higher is better"


def _cells(one: dict[str, Any]) -> list[str]:
    from runner.sweeps.report import comparison

    figures = comparison.figures(one) if one["n"] else ""
    p = "" if one["corrected"] is None else f"{one['corrected']:.2g}{' differs' if one['differs'] else ''}"
    return [str(one["rank"] or ""), comparison.label(one), figures, comparison.count(one), one["left_out"] or p]
