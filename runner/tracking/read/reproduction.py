"""What a second training has to give: every value and every weight that the first one has recorded."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from runner.training.events import Epoch, Event, Step
from runner.training.state import checkpoint

if TYPE_CHECKING:
    from runner.training.run import Run

#: Metrics that training measures; others, such as those of the machine, are of no account.
KINDS = ("train/", "valid/", "test/")
#: MLflow keeps infinity as the largest number that there is.
LARGEST = 1.7976931348623157e308

Points = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Difference:
    """Two values that should be one; None where there is none."""

    name: str
    step: int
    recorded: float | None
    found: float | None


class Reached(Exception):
    """The record goes no further."""


@dataclass
class Until:
    """An observer that raises Reached at the end of a record that breaks off, before what ended the run comes again."""

    step: int
    looked: bool  # whether the validation data were looked at after this step

    def record(self, event: Event) -> None:
        if isinstance(event, Epoch if self.looked else Step) and event.step >= self.step:
            raise Reached


@dataclass
class Digests:
    """An observer that takes the SHA-256 of the weights after some steps."""

    model: nn.Module
    steps: set[int]
    taken: dict[int, str] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        if isinstance(event, Step):
            self.at(event.step)

    def at(self, step: int) -> None:
        if step in self.steps:
            self.taken[step] = checkpoint.digest(self.model.state_dict())


@dataclass
class Pruned:
    """An observer that ends a run where a sweep has given it up; which other jobs there were, nobody asks again."""

    run: "Run"
    epoch: int

    def record(self, event: Event) -> None:
        if isinstance(event, Epoch) and event.epoch == self.epoch:
            self.run.stopped = f"pruned after epoch {self.epoch}"


#: Without trainer.deterministic=true, how far a loss on a device may be from the recorded one, relative to the largest
#: recorded of its name: this much a step, at least that of FIRST steps, at most MOST. Rounding that differs grows so.
EACH, FIRST, MOST = 1e-4, 10, 0.05
#: Times as much where products have 8 or 11 bits instead of 24.
COARSE = 10.0


def tolerance(step: int, precision: str) -> float:
    """How far a loss after `step` steps may be from the recorded one, relative to the largest recorded."""
    return min(MOST, EACH * max(step, FIRST) * (COARSE if precision in ("bf16", "fp16") else 1.0))


def words(precision: str) -> str:
    """The tolerance, for people."""
    first, each = tolerance(1, precision), tolerance(FIRST, precision) / FIRST
    return (
        f"losses may be apart by {first:g} of the largest recorded in the first {FIRST} steps,"
        f" later by {each:g} a step, never by more than {MOST:g}"
    )


def share(difference: Difference, recorded: Points, precision: str) -> float:
    """How much of its tolerance a difference takes; infinite where nothing is allowed.

    A metric may be anything: one that counts examples changes by a whole one where rounding decides between classes.
    """
    then, now = difference.recorded, difference.found
    if then is None or now is None or not math.isfinite(then) or not math.isfinite(now):
        return math.inf
    if difference.name in ("lr", "epoch"):
        return math.inf
    if not difference.name.endswith("/loss"):
        return 0.0
    largest = max(abs(v) for v in recorded[difference.name].values() if math.isfinite(v))
    return abs(then - now) / (tolerance(difference.step, precision) * largest) if largest else math.inf


def counted(names: Iterable[str]) -> list[str]:
    """Those metrics that a second training has to give again."""
    return [name for name in names if name.startswith(KINDS) or name in ("lr", "epoch")]


def end(recorded: Points, saved: set[int]) -> Until:
    """Where to stop repeating a run that was interrupted, whose checkpoints are of the steps `saved`."""
    step = max(*recorded["train/loss"], *saved)
    return Until(step, any(step in values for name, values in recorded.items() if name != "train/loss"))


def compare(recorded: Points, found: Points, whole: bool) -> list[Difference]:
    """The values that differ in any bit, in the order in which they came.

    whole: the record is that of a whole training; False: it breaks off, and what was found beyond it is left out.
    """
    differences = []
    for name in {**recorded, **found}:
        then, now = recorded.get(name, {}), found.get(name, {})
        if name.startswith("test/"):  # a run that was made longer was tested at each of its ends
            then = dict([max(then.items())]) if then else {}
        steps = {*then, *now} if whole else set(then)
        differences += [
            Difference(name, step, then.get(step), now.get(step))
            for step in steps
            if not _same(then.get(step), now.get(step))
        ]
    return sorted(differences, key=lambda d: (d.step, d.name != "train/loss", d.name))


def _same(recorded: float | None, found: float | None) -> bool:
    if recorded is None or found is None:
        return False
    return _kept(recorded) == _kept(found) or (math.isnan(recorded) and math.isnan(found))


def _kept(value: float) -> float:
    return max(-LARGEST, min(LARGEST, value)) if not math.isnan(value) else value
