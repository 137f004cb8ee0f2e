"""What became of a job, as its process tells it to the sweep's."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """How a job has ended."""

    number: int
    run_id: str
    status: str  # FINISHED | FAILED | KILLED
    value: float | None = None  # the best of the metric that jobs are ranked by
    metrics: dict[str, float] = field(default_factory=dict)  # the last of each loss and metric
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, value) of the metric that jobs are ranked by
    epoch: int = 0
    pruned: int | None = None  # the epoch after which it was given up
    reason: str = ""
    undelivered: bool = False  # the store does not know all of it yet
