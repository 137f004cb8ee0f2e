"""Where the values of two runs part: the first step, metric by metric."""

import math
from typing import Any

from runner.tracking.read.difference.record import Recorded

#: Beginnings of the names of metrics that a training repeats; those of the machine do not count.
_KINDS = ("train/", "valid/", "test/", "lr", "epoch")
LOSS = "train/loss"


def part(a: Recorded, b: Recorded) -> dict[str, Any]:
    """Return where the values part.

    steps: of each run. common: steps whose loss both have. compared: how many values. first: metric -> the first step
    at which it differs, both values and how far they are apart, relative to the larger. only: metrics of one run alone.
    last: metric -> the last values of both, and their steps.
    """
    first, compared = {}, 0
    names = [name for name in a.points if name in b.points and name.startswith(_KINDS)]
    for name in sorted(names, key=lambda name: (name != LOSS, name)):
        one, other = a.points[name], b.points[name]
        steps = sorted(one.keys() & other.keys())
        compared += len(steps)
        step = next((step for step in steps if not _same(one[step], other[step])), None)
        if step is not None:
            first[name] = {"step": step, "a": one[step], "b": other[step], "relative": _apart(one[step], other[step])}
    only = [
        [name for name in x.points if name not in y.points and name.startswith(_KINDS)] for x, y in ((a, b), (b, a))
    ]
    return {
        "steps": [a.steps, b.steps],
        "common": len(a.points.get(LOSS, {}).keys() & b.points.get(LOSS, {}).keys()),
        "compared": compared,
        "first": first,
        "only": dict(zip("ab", only, strict=True)),
        "last": {name: _last(a, b, name) for name in sorted({**a.points, **b.points}) if name.startswith(_KINDS)},
    }


def _last(a: Recorded, b: Recorded, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for side, run in (("a", a), ("b", b)):
        step = max(run.points.get(name, {}), default=None)
        values |= {side: None if step is None else run.points[name][step], f"step_{side}": step}
    return values


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _apart(one: float, other: float) -> float | None:
    """Return how far two values are apart, relative to the larger; None where that is no number."""
    gap = abs(one - other) / max(abs(one), abs(other), 1e-300)
    return gap if math.isfinite(gap) else None
