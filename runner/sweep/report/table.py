"""The table of a sweep: one row for each job, ranked by a metric."""

import math
from dataclasses import dataclass, field

#: Statuses of a job; a pruned job is FINISHED and has the epoch in `pruned`.
STATES = ("WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED")
#: The key by which jobs are folds of one training.
FOLD = "data.fold"
#: Statuses of jobs that have ended.
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass
class Row:
    """One job: its overrides, its status and its values."""

    number: int  # from 0, as Hydra counts
    overrides: dict[str, str]  # the varied keys -> values as typed
    run_id: str = ""  # "" before the job starts
    status: str = "WAITING"
    value: float | None = None  # the best value of the ranked metric
    metrics: dict[str, float] = field(default_factory=dict)  # the newest value of each loss and metric
    epoch: int = 0
    epochs: int = 0
    seconds: float | None = None  # since it started, or in total once it ended
    pruned: int | None = None  # the epoch after which it was pruned
    reason: str = ""  # reason for FAILED or KILLED, in one line

    @property
    def name(self) -> str:
        """The overrides in one line, as in `optimizer.lr=0.1, seed=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.overrides.items())

    @property
    def ended(self) -> bool:
        """True if the job is FINISHED, FAILED or KILLED."""
        return self.status in ENDED

    @property
    def share(self) -> float:
        """Share of the job that is done, from 0 to 1."""
        return 1.0 if self.ended else min(1.0, self.epoch / self.epochs) if self.epochs else 0.0


@dataclass
class Table:
    """All jobs of a sweep in the order of their numbers."""

    rows: list[Row]
    metric: str = "valid/loss"  # what jobs are ranked by
    mode: str = "min"  # which of its values are better: min | max
    objectives: list[tuple[str, str]] = field(default_factory=list)  # (metric, min | max), where there are several

    @property
    def front(self) -> list[Row]:
        """The Pareto front of several objectives: jobs than which no other is as good in all and better in one.

        It compares the last value of each metric, and is ordered by the first objective.
        """
        if len(self.objectives) < 2:
            return []
        costs = {row.number: cost for row in self.rows if (cost := self._costs(row))}
        front: list[Row] = []
        for row in sorted((row for row in self.rows if row.number in costs), key=lambda r: (costs[r.number], r.number)):
            if not any(_beats(costs[other.number], costs[row.number]) for other in front):  # a better one comes before
                front.append(row)
        return front

    def _costs(self, row: Row) -> list[float]:
        """Return a number for each objective, lower is better; [] for a job that failed, was pruned or has no value."""
        values = [row.metrics.get(metric, math.nan) for metric, _ in self.objectives]
        if row.status != "FINISHED" or row.pruned is not None or not all(map(math.isfinite, values)):
            return []
        return [v if mode == "min" else -v for v, (_, mode) in zip(values, self.objectives, strict=True)]

    @property
    def keys(self) -> list[str]:
        """The varied keys in the order in which they were typed."""
        return list(dict.fromkeys(key for row in self.rows for key in row.overrides))

    @property
    def ranked(self) -> list[Row]:
        """The jobs with a finite value, the best first; equal ones by number."""
        with_value = [row for row in self.rows if row.value is not None and math.isfinite(row.value)]
        sign = 1 if self.mode == "min" else -1
        return sorted(with_value, key=lambda row: (sign * (row.value or 0.0), row.number))

    @property
    def standing(self) -> list[Row]:
        """The ranked jobs that neither failed nor were interrupted."""
        return [row for row in self.ranked if row.status in ("RUNNING", "FINISHED")]

    @property
    def folded(self) -> bool:
        """True if jobs differ in their fold: each is a part of a result then, and none is the best."""
        return any(FOLD in row.overrides for row in self.rows)

    @property
    def best(self) -> Row | None:
        """The best FINISHED job, or None, as it is in a sweep over folds."""
        return None if self.folded else next((row for row in self.ranked if row.status == "FINISHED"), None)

    @property
    def better(self) -> str:
        """The direction of the metric in words, for titles."""
        return "lower is better" if self.mode == "min" else "higher is better"

    def having(self, status: str) -> list[Row]:
        """Return the jobs with this status."""
        return [row for row in self.rows if row.status == status]


def _beats(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
