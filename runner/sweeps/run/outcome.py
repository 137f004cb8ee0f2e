"""The outcome of a job, which its process returns to the sweep's process."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """The result of a job: its run, status and values."""

    number: int
    run_id: str
    status: str  # FINISHED | FAILED | KILLED
    value: float | None = None  # the best value of the metric that jobs are ranked by
    metrics: dict[str, float] = field(default_factory=dict)  # the last value of each loss and metric
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, value) of the metric that jobs are ranked by
    epoch: int = 0
    pruned: int | None = None  # the epoch after which it was pruned
    reason: str = ""
    undelivered: bool = False  # some of its record is not in the store yet
