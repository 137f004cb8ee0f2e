"""The table of a sweep: one row for each job, ranked by a metric."""

import math
import statistics
from dataclasses import dataclass, field

#: Statuses of a job; a pruned job is FINISHED and has the epoch in `pruned`.
STATES = ("WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED")
#: The key by which jobs are folds of one training, and that by which they are one training again.
FOLD, SEED = "data.fold", "seed"
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
class Combination:
    """Jobs that differ in their seed or fold alone."""

    overrides: dict[str, str]  # without seed and fold
    rows: list[Row]  # in the order of their seeds and folds
    over: list[str]  # those of the keys of seed and fold that are varied

    @property
    def counted(self) -> list[Row]:
        """The jobs that are FINISHED, not pruned, and have a finite value."""
        return [
            row
            for row in self.rows
            if row.status == "FINISHED" and row.pruned is None and row.value is not None and math.isfinite(row.value)
        ]

    @property
    def values(self) -> dict[tuple[str, ...], float]:
        """The ranked metric of the counted jobs, by their seed or fold."""
        return {self.repeat(row): row.value for row in self.counted if row.value is not None}

    def repeat(self, row: Row) -> tuple[str, ...]:
        """Return the seed or fold of a row, or both."""
        return tuple(row.overrides.get(key, "") for key in self.over)

    def of(self, metric: str) -> list[float]:
        """Return the values of another metric, of the counted jobs that have it."""
        return [value for row in self.counted if math.isfinite(value := row.metrics.get(metric, math.nan))]

    @property
    def mean(self) -> float:
        """The mean of the ranked metric; nan for no value."""
        values = self.values.values()
        return statistics.fmean(values) if values else math.nan

    @property
    def spread(self) -> float:
        """The standard deviation of the ranked metric, with n - 1; nan for fewer than two values."""
        return spread(list(self.values.values()))

    @property
    def left_out(self) -> str:
        """Why this combination cannot be compared with others; "" if it can.

        A job that failed, was pruned or has no number would have been one of the worst: without it, the mean of the
        others says too much. One that is merely unfinished may be missing, but not a fold, which has examples of its
        own.
        """
        wrong = [f"{self._at(row)} {word}" for row in self.rows if (word := self._wrong(row))]
        if not wrong and len(self.values) < 2:
            count = len(self.values)
            wrong = ["one value alone" if count else "no value"]
        return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")

    def _at(self, row: Row) -> str:
        return ", ".join(f"{key}={value}" for key, value in zip(self.over, self.repeat(row), strict=True))

    def _wrong(self, row: Row) -> str:
        if row.status == "FAILED" or (row.status != "FINISHED" and FOLD in self.over):
            return row.status
        if row.pruned is not None:
            return "was pruned"
        no_number = row.status == "FINISHED" and (row.value is None or not math.isfinite(row.value))
        return "has no finite value" if no_number else ""


def spread(values: list[float]) -> float:
    """Return the standard deviation with n - 1; nan for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


@dataclass
class Table:
    """All jobs of a sweep in the order of their numbers."""

    rows: list[Row]
    metric: str = "valid/loss"  # what jobs are ranked by
    mode: str = "min"  # which of its values are better: min | max
    objectives: list[tuple[str, str]] = field(default_factory=list)  # (metric, min | max), where there are several
    repeats: tuple[str, ...] = (SEED, FOLD)  # keys whose values are one training again

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
    def over(self) -> list[str]:
        """The varied keys that make jobs repeats of one training."""
        return [key for key in self.keys if key in self.repeats]

    @property
    def combinations(self) -> list[Combination]:
        """The jobs by what they have in common but for seed and fold: by mean, the best first, then the left out."""
        over, groups = self.over, dict[str, Combination]()
        for row in self.rows:
            rest = {key: value for key, value in row.overrides.items() if key not in over}
            groups.setdefault(repr(sorted(rest.items())), Combination(rest, [], over)).rows.append(row)
        for one in groups.values():
            one.rows.sort(key=lambda row: ([_natural(word) for word in one.repeat(row)], row.number))
        sign = 1 if self.mode == "min" else -1
        order = {
            key: (bool(one.left_out), sign * one.mean if one.values else math.inf, one.rows[0].number)
            for key, one in groups.items()
        }
        return [groups[key] for key in sorted(groups, key=order.__getitem__)]

    @property
    def best_combination(self) -> Combination | None:
        """The combination with the best mean over seeds or folds; None where these are not varied, or none is whole."""
        if not self.over or len(self.objectives) > 1:
            return None
        return next((one for one in self.combinations if not one.left_out), None)

    @property
    def best(self) -> Row | None:
        """The best FINISHED job, over seeds that of the best mean; None if there is none, and in a sweep over folds."""
        if self.folded:
            return None
        combination = self.best_combination
        among = {row.number for row in (self.rows if combination is None else combination.rows)}
        return next((row for row in self.ranked if row.status == "FINISHED" and row.number in among), None)

    @property
    def better(self) -> str:
        """The direction of the metric in words, for titles."""
        return "lower is better" if self.mode == "min" else "higher is better"

    def having(self, status: str) -> list[Row]:
        """Return the jobs with this status."""
        return [row for row in self.rows if row.status == status]


def _natural(word: str) -> tuple[float, str]:
    """Return what sorts numbers by their size, before words."""
    return (float(word), "") if word.isdecimal() else (math.inf, word)


def _beats(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
