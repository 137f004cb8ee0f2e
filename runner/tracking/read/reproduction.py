"""Comparing a second training with the record of the first: every value, and the weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from runner.training.events import Epoch, Event, Step
from runner.training.state import checkpoint

if TYPE_CHECKING:
    from runner.training.run import Run

#: Beginnings of the metrics that training measures; others, such as those of the machine, do not count.
KINDS = ("train/", "valid/", "test/")
#: MLflow keeps infinity as the largest number that there is.
LARGEST = 1.7976931348623157e308

Points = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Difference:
    """Two values of a metric that should be equal; None stands for no value."""

    name: str
    step: int
    recorded: float | None
    repeated: float | None  # by the second training


class Reached(Exception):
    """Raised at the last step of a record that breaks off."""


@dataclass
class Until:
    """An observer that raises Reached at the end of a record that breaks off, before what ended the run comes again."""

    step: int
    validated: bool  # whether the run was validated after this step

    def record(self, event: Event) -> None:
        """Raise Reached after the last recorded event."""
        if isinstance(event, Epoch if self.validated else Step) and event.step >= self.step:
            raise Reached


@dataclass
class Digests:
    """An observer that computes the SHA-256 of the weights after some steps."""

    model: nn.Module
    steps: set[int]
    taken: dict[int, str] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        """Compute the digest after a step, if it is one of `steps`."""
        if isinstance(event, Step):
            self.at(event.step)

    def at(self, step: int) -> None:
        """Compute the digest now, if `step` is one of `steps`."""
        if step in self.steps:
            self.taken[step] = checkpoint.digest(self.model.state_dict())


@dataclass
class Pruned:
    """An observer that ends a run after the epoch in which a sweep has pruned it, without the sweep's other jobs."""

    run: "Run"
    epoch: int

    def record(self, event: Event) -> None:
        """End the run after its last epoch."""
        if isinstance(event, Epoch) and self.run.length.rung(event.step) == self.epoch:
            self.run.stopped = f"pruned after epoch {self.epoch}"


#: Tolerance of a loss on a device without trainer.deterministic=true, relative to the largest recorded loss of its
#: name: EACH a step, at least that of FIRST steps, at most MOST. Differences in rounding grow so.
EACH, FIRST, MOST = 1e-4, 10, 0.05
#: Factor for products of 8 or 11 bits instead of 24.
COARSE = 10.0


def tolerance(step: int, precision: str) -> float:
    """Return how far a loss after `step` steps may be from the recorded one, relative to the largest recorded.

    precision: as in `trainer.precision`.
    """
    return min(MOST, EACH * max(step, FIRST) * (COARSE if precision in ("bf16", "fp16") else 1.0))


def words(precision: str) -> str:
    """Return the tolerance in words."""
    first, each = tolerance(1, precision), tolerance(FIRST, precision) / FIRST
    return (
        f"losses may be apart by {first:g} of the largest recorded in the first {FIRST} steps,"
        f" later by {each:g} a step, never by more than {MOST:g}"
    )


def share(difference: Difference, recorded: Points, precision: str) -> float:
    """Return how much of its tolerance a difference takes: 1 is all of it, infinity stands for no tolerance at all.

    recorded: all values, for the largest of this name. Metrics other than losses are always within it: one that counts
        examples changes by a whole one where rounding decides between classes.
    """
    then, now = difference.recorded, difference.repeated
    if then is None or now is None or not math.isfinite(then) or not math.isfinite(now):
        return math.inf
    if difference.name.partition("/")[0] in ("lr", "epoch"):
        return math.inf
    if not difference.name.endswith("/loss"):
        return 0.0
    largest = max(abs(v) for v in recorded[difference.name].values() if math.isfinite(v))
    return abs(then - now) / (tolerance(difference.step, precision) * largest) if largest else math.inf


def counted(names: Iterable[str]) -> list[str]:
    """Return the names of metrics that a second training has to repeat."""
    return [name for name in names if name.startswith(KINDS) or name.partition("/")[0] in ("lr", "epoch")]


def end(recorded: Points, saved: set[int]) -> Until:
    """Return the observer that stops the repetition of a run that was interrupted.

    saved: the steps of its checkpoints, which may be later than its last recorded loss.
    """
    step = max(*recorded["train/loss"], *saved)
    return Until(step, any(step in values for name, values in recorded.items() if not name.startswith("train/")))


def compare(recorded: Points, repeated: Points, whole: bool) -> list[Difference]:
    """Return the values that differ in any bit, in the order of their steps.

    repeated: by the second training. whole: the record is that of a whole training; False: it breaks off, and values
        beyond its end do not count.
    """
    differences = []
    for name in {**recorded, **repeated}:
        then, now = recorded.get(name, {}), repeated.get(name, {})
        if name.startswith("test/"):  # a run that was made longer was tested at each of its ends
            then = dict([max(then.items())]) if then else {}
        steps = {*then, *now} if whole else set(then)
        differences += [
            Difference(name, step, then.get(step), now.get(step))
            for step in steps
            if not _same(then.get(step), now.get(step))
        ]
    return sorted(differences, key=lambda d: (d.step, d.name != "train/loss", d.name))


def _same(recorded: float | None, repeated: float | None) -> bool:
    if recorded is None and repeated is not None:
        return not math.isfinite(repeated)  # which is not recorded
    if recorded is None or repeated is None:
        return False
    return _as_stored(recorded) == _as_stored(repeated) or (math.isnan(recorded) and math.isnan(repeated))


def _as_stored(value: float) -> float:
    return max(-LARGEST, min(LARGEST, value)) if not math.isnan(value) else value
