"""Two functions compared in pairs, and a table of the comparisons."""

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Row:
    """One line of the table."""

    what: str
    ours: float  # seconds, median
    other: float  # seconds, median
    ratio: float  # of seconds, ours / other; of a `faster` row other / ours
    bar: float | None  # None: for information
    faster: bool = False  # the ratio must be at least `bar`; otherwise at most

    @property
    def missed(self) -> bool:
        """True if the ratio is on the wrong side of the bar."""
        if self.bar is None:
            return False
        return self.ratio < self.bar if self.faster else self.ratio > self.bar


def compare(
    what: str,
    ours: Callable[[], float],
    other: Callable[[], float],
    pairs: int,
    bar: float | None,
    faster: bool = False,
    warm: bool = True,
) -> Row:
    """Call both functions `pairs` times, taking turns in going first; each returns its seconds.

    The ratio is the median of the pairs' ratios, so that a machine whose speed drifts slows down both sides.
    faster: the ratio is how many times as fast ours is, and not how many times as long it takes.
    warm: one pair before the others fills what is cached.
    """
    if warm:
        ours(), other()
    seconds: list[tuple[float, float]] = []
    for i in range(pairs):
        gc.collect()
        if i % 2:
            second = other()
            seconds.append((ours(), second))
        else:
            seconds.append((ours(), other()))
    medians = [statistics.median(side) for side in zip(*seconds, strict=True)]
    ratio = statistics.median(b / a if faster else a / b for a, b in seconds)
    return Row(what, medians[0], medians[1], ratio, bar, faster)


def table(rows: Iterator[Row]) -> int:
    """Print the rows as they come; return 1 if one has missed its bar."""
    missed = False
    for number, row in enumerate(rows):
        if number == 0:
            print(f"{'':74} {'runner':>10} {'other':>10} {'ratio':>8} {'bar':>8}")
        bar = "-" if row.bar is None else f"{row.bar:.2f}x"
        verdict = "" if row.bar is None else "MISSED" if row.missed else "ok"
        numbers = f"{row.ours:>8.3f} s {row.other:>8.3f} s {row.ratio:>7.3f}x {bar:>8}"
        print(f"{row.what:74} {numbers} {verdict}", flush=True)
        missed = missed or row.missed
    return int(missed)
