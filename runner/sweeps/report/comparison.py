"""The comparison of combinations over seeds or folds: a plain value for programs, and its lines for people."""

import math
from typing import Any

from runner.settings.trust import secrets, terminal
from runner.sweeps.report import compare, words
from runner.sweeps.report.table import FOLD, Combination, Row, Table

#: The parent run's artifact with the plain value.
JSON = "best.json"
#: Combinations that a line names one by one.
SHOWN = 3
#: What repeats are called.
NOUNS = {"seed": "seed", FOLD: "fold"}


def applies(table: Table) -> bool:
    """Return whether seeds or folds are varied, so that there are means to compare; several objectives have none."""
    return bool(table.over) and len(table.objectives) < 2


def plain(table: Table) -> dict[str, Any]:
    """Return the combinations of a table, the best first, and how each differs from the best; JSON-able.

    `mean` and `spread` (standard deviation with n - 1) are of the n runs that count. `p` and `corrected` compare with
    the best (see `compare.with_best`), which `differs` is about; they are None for the best, and for combinations that
    are `left_out` for the reason there.
    """
    every = table.combinations
    compared = [one for one in every if not one.left_out]
    differences = compare.with_best([one.values for one in compared], table.mode, _folds(compared)) if compared else []
    known: list[compare.Difference | None] = [None, *differences][: len(compared)]
    known += [None] * (len(every) - len(known))
    configurations = [
        _plain(one, None if one.left_out else rank, difference)
        for rank, (one, difference) in enumerate(zip(every, known, strict=True), 1)
    ]
    return {
        "metric": table.metric,
        "mode": table.mode,
        "over": table.over,
        "level": compare.LEVEL,
        "compared": len(compared),
        "best": configurations[0] if compared else None,
        "configurations": configurations,
    }


def _folds(compared: list[Combination]) -> int:
    """Return the number of folds that the combinations have; 0 where repeats are no folds."""
    over = compared[0].over
    return len({repeat[over.index(FOLD)] for one in compared for repeat in one.values}) if FOLD in over else 0


def _plain(one: Combination, rank: int | None, difference: compare.Difference | None) -> dict[str, Any]:
    return {
        "rank": rank,
        "overrides": one.overrides,
        "n": len(one.values),
        "mean": _finite(one.mean),
        "spread": _finite(one.spread),
        "p": difference and difference.p,
        "corrected": difference and difference.corrected,
        "differs": difference and difference.is_clear,
        "left_out": one.left_out or None,
        "runs": [_run(one, row) for row in one.rows],
    }


def _run(one: Combination, row: Row) -> dict[str, Any]:
    repeat = dict(zip(one.over, one.repeat(row), strict=True))
    pruned = row.pruned is not None
    return {
        "job": row.number, "run": row.run_id, **repeat, "status": row.status, "pruned": pruned,
        "value": None if row.value is None else _finite(row.value),
    }  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def lines(value: dict[str, Any]) -> list[str]:
    """Return what `plain` has found, in one or two lines."""
    every, compared = value["configurations"], value["compared"]
    left_out = [one for one in every if one["left_out"]]
    if all(one["n"] < 2 and len(one["runs"]) < 2 for one in every):
        return [
            f"{_each(value)}: whether the best is better by more than chance cannot be said;"
            " seed=0,1,2,3,4 beside the other keys would tell"
        ]
    reasons = [f"{label(one)} ({one['left_out']})" for one in left_out[:SHOWN]]
    further = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    not_compared = f"not compared: {'; '.join(reasons)}{further}"
    if not compared:
        return [not_compared]
    best = every[0]
    first = f"best  {label(best)}: {value['metric']} {figures(best)} over {_runs(value, best)}"
    if compared > 1:
        first += f"; {_told(every[1:compared])}"
    return [first, *([not_compared] if left_out else [])]


def _told(others: list[dict[str, Any]]) -> str:
    """Return from which of the others the best differs; the runner-up is named with its figures."""
    runner_up, *rest = others
    alike = [one for one in rest if not one["differs"]]
    p = runner_up["corrected"]
    p = "p<0.001" if p < 0.001 else f"p={p:.2g}"
    named = f"{label(runner_up)} ({figures(runner_up)}, {p}, corrected for {len(others) + 1} configurations)"
    if not runner_up["differs"]:
        told = f"does not differ from {named}"
        told += f", nor from {words.counted(len(alike), 'other')}" if alike else ""
        clear = len(rest) - len(alike)
        return told + (f"; differs from {words.counted(clear, 'other')}" if clear else "")
    if not alike:
        return f"differs from {named}" + (f" and from {words.counted(len(rest), 'other')}" if rest else "")
    names = ", ".join(f"{label(one)} ({figures(one)})" for one in alike[:SHOWN])
    further = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
    return f"differs from {named}, but not from {names}{further}"


def _each(value: dict[str, Any]) -> str:
    return f"one {' and '.join(NOUNS.get(key, key) for key in value['over']) or 'run'} for each configuration"


def label(one: dict[str, Any]) -> str:
    """Return the overrides of a configuration in one line."""
    text = ", ".join(f"{key}={value}" for key, value in one["overrides"].items())
    return terminal.line(secrets.masked(text)) or "the configuration"


def _runs(value: dict[str, Any], one: dict[str, Any]) -> str:
    noun = NOUNS.get(value["over"][0], "run") if len(value["over"]) == 1 else "run"
    return f"{count(one)} {noun}{'' if len(one['runs']) == 1 else 's'}"


def count(one: dict[str, Any]) -> str:
    """Return how many runs of a configuration count, of how many."""
    return f"{one['n']} of {len(one['runs'])}" if one["n"] < len(one["runs"]) else str(one["n"])


def figures(one: dict[str, Any]) -> str:
    """Return mean ± spread, both with as many digits as the spread has two of."""
    mean, spread = one["mean"], one["spread"]
    if spread is None:
        return words.figure(mean)
    digits = 1 - math.floor(math.log10(spread)) if spread else 99
    if 0 <= digits <= 6:
        return f"{mean:.{digits}f} ± {spread:.{digits}f}"
    return f"{words.figure(mean)} ± {words.figure(spread)}"
