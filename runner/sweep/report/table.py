"""What a sweep has come to: one row for each job."""

import math
from dataclasses import dataclass, field

#: How a job stands; a pruned job is FINISHED and tells at which epoch.
STATES = ("WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED")
#: Of these nothing more is to come.
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass
class Row:
    """One job: what is varied, how it stands, and its figures."""

    number: int  # from 0, as Hydra counts
    overrides: dict[str, str]  # what is varied: key -> value as typed
    run_id: str = ""  # "" before it begins
    status: str = "WAITING"
    value: float | None = None  # the best of the monitored metric
    metrics: dict[str, float] = field(default_factory=dict)  # the newest value of each loss and metric
    epoch: int = 0
    epochs: int = 0
    seconds: float | None = None  # since it began, or that it took
    pruned: int | None = None  # the epoch after which it was given up
    reason: str = ""  # why it is FAILED or KILLED, in a line

    @property
    def name(self) -> str:
        """`optimizer.lr=0.1, seed=2`: what tells this job from the others."""
        return ", ".join(f"{key}={value}" for key, value in self.overrides.items())

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
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
        """With several objectives, the jobs to choose from: no other is as good in all of them and better in one.

        Vilfredo Pareto's optimality, of the last value of each metric; ordered by the first objective.
        """
        if len(self.objectives) < 2:
            return []
        costs = {row.number: cost for row in self.rows if (cost := self._costs(row))}
        beaten = {n for n, cost in costs.items() for other in costs.values() if _beats(other, cost)}
        found = [row for row in self.rows if row.number in costs.keys() - beaten]
        return sorted(found, key=lambda row: (costs[row.number], row.number))

    def _costs(self, row: Row) -> list[float]:
        """A number for each objective, of which less is better; none of a job that has not ended well."""
        values = [row.metrics.get(metric, math.nan) for metric, _ in self.objectives]
        if row.status != "FINISHED" or row.pruned is not None or not all(map(math.isfinite, values)):
            return []
        return [v if mode == "min" else -v for v, (_, mode) in zip(values, self.objectives, strict=True)]

    @property
    def keys(self) -> list[str]:
        """What is varied, in the order in which it was typed."""
        return list(dict.fromkeys(key for row in self.rows for key in row.overrides))

    @property
    def ranked(self) -> list[Row]:
        """The jobs with a value, the best first; equal ones by their number."""
        found = [row for row in self.rows if row.value is not None and math.isfinite(row.value)]
        sign = 1 if self.mode == "min" else -1
        return sorted(found, key=lambda row: (sign * (row.value or 0.0), row.number))

    @property
    def standing(self) -> list[Row]:
        """The ranked jobs that neither failed nor were interrupted."""
        return [row for row in self.ranked if row.status in ("RUNNING", "FINISHED")]

    @property
    def best(self) -> Row | None:
        """The best of the jobs that ended well."""
        return next((row for row in self.ranked if row.status == "FINISHED"), None)

    @property
    def better(self) -> str:
        return "lower is better" if self.mode == "min" else "higher is better"

    def having(self, status: str) -> list[Row]:
        return [row for row in self.rows if row.status == status]


def _beats(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
