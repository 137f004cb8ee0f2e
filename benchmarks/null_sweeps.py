"""How often a sweep names a false winner, and how often it tells a real one: `python benchmarks/null_sweeps.py`.

A null sweep has configurations that are all equal: the values of each seed come from one distribution, and what a seed
does to all of them is added (`shared`, 0 or 2 standard deviations). A false winner is one of which the sweep says that
it differs from the runner-up; a false statement, that the best differs from any other. Printed are the shares of
`--sweeps` simulated sweeps, with Wilson's interval of 95%:

- `mixed`: 2 to 20 configurations, 2 to 10 seeds, all noises, drawn for each sweep;
- a line for each noise and number of configurations, a fifth of it with each of 2, 3, 5, 8, 10 seeds;
- how often a winner that is 1, 2, 3 or 5 standard deviations ahead of all others, equal ones, is told.

Rows of tables are made of the numbers, and their comparison is asked, as a sweep does.
"""

import argparse
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runner.sweeps.report import comparison
from runner.sweeps.report.table import Row, Table

#: Name -> a draw of standard deviation 1. The second is long towards higher, the third towards lower values.
_WIDTH = math.sqrt((math.e - 1) * math.e)
NOISES: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda draws: draws.gauss(0, 1),
    "lognormal": lambda draws: draws.lognormvariate(0, 1) / _WIDTH,
    "-lognormal": lambda draws: -draws.lognormvariate(0, 1) / _WIDTH,
}
SHARED = (0.0, 2.0)
COUNTS, SEEDS, AHEAD = (2, 3, 5, 10, 20), (2, 3, 5, 8, 10), (1.0, 2.0, 3.0, 5.0)


def sweep(draws: random.Random, count: int, seeds: int, noise: str, shared: float, ahead: float = 0.0) -> Table:
    """Return the table of a finished sweep; the first configuration is better by `ahead`, all others are equal."""
    by_seed = [shared * draws.gauss(0, 1) for _ in range(seeds)]
    rows = [
        Row(
            number=one * seeds + seed,
            overrides={"optimizer.lr": str(one), "seed": str(seed)},
            status="FINISHED",
            value=by_seed[seed] + NOISES[noise](draws) - (ahead if one == 0 else 0.0),
        )
        for one in range(count)
        for seed in range(seeds)
    ]
    return Table(rows)


def told(table: Table) -> tuple[bool, bool, str]:
    """Return whether the best is said to differ from the runner-up, and from any, and which one is the best."""
    best, *others = comparison.plain(table)["configurations"]
    return others[0]["differs"], any(one["differs"] for one in others), best["overrides"]["optimizer.lr"]


def mixed(sweeps: int, seed: int = 0) -> tuple[int, int]:
    """Return false winners and false statements of null sweeps of every kind."""
    draws, winners, statements = random.Random(seed), 0, 0
    for _ in range(sweeps):
        kind = (draws.randint(2, 20), draws.randint(2, 10), draws.choice(list(NOISES)), draws.choice(SHARED))
        winner, statement, _ = told(sweep(draws, *kind))
        winners, statements = winners + winner, statements + statement
    return winners, statements


def share(events: int, total: int) -> str:
    """Return a share with its interval of 95% (Wilson, Journal of the American Statistical Association 22, 1927)."""
    z, rate = 1.96, events / total
    middle = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2) / (1 + z * z / total)
    return f"{rate:6.1%} [{max(0.0, middle - half):.1%}, {middle + half:.1%}]"


def main() -> None:
    """Print all shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps for each figure")
    total = parser.parse_args().sweeps
    winners, statements = mixed(total)
    print(f"false winners of {total:,} null sweeps   mixed {share(winners, total)}", flush=True)
    print(f"false statements                 mixed {share(statements, total)}", flush=True)
    print("\n                                 false winners          false statements")
    for noise in NOISES:
        for count in COUNTS:
            print(f"{noise:>10} {count:3} configurations   {_null(total, count, noise)}", flush=True)
    print(f"\nthe winner is told, with {', '.join(map(str, SEEDS))} seeds")
    for count in (2, 6, 20):
        for ahead in AHEAD:
            print(f"{count:3} configurations, ahead by {ahead:g}   {_power(total // 4, count, ahead)}", flush=True)


def _null(total: int, count: int, noise: str) -> str:
    draws = random.Random(f"{noise} {count}")
    kinds = [(SEEDS[n % len(SEEDS)], SHARED[n % len(SHARED)]) for n in range(total)]
    answers = [told(sweep(draws, count, seeds, noise, shared)) for seeds, shared in kinds]
    return "   ".join(share(sum(column), total) for column in list(zip(*answers, strict=True))[:2])


def _power(total: int, count: int, ahead: float) -> str:
    shares = []
    for seeds in SEEDS:
        draws = random.Random(f"power {count} {seeds} {ahead}")
        answers = [told(sweep(draws, count, seeds, "normal", SHARED[n % 2], ahead)) for n in range(total)]
        shares.append(sum(winner and best == "0" for winner, _, best in answers) / total)
    return " ".join(f"{one:5.0%}" for one in shares)


if __name__ == "__main__":
    main()
