"""`debug=overfit`: one batch of training data, until it is learned; if it is not, why, with evidence."""

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from runner.model import host
from runner.settings.errors import Failure
from runner.training import measure
from runner.training.debugging.artifact import artifact
from runner.training.debugging.tries import batch_loss, tried
from runner.training.debugging.undebugged import Undebugged
from runner.training.events import Epoch, Event
from runner.training.finite import Diverged

if TYPE_CHECKING:
    from runner.training.run import Run

#: A batch is learned when its loss, without dropout, is this share of what it was with the first weights.
LEARNED = 0.05


class Debugging(Undebugged):
    """Ends the run as soon as its batch is learned, and looks for reasons where it is not.

    A batch of classes is also learned where every example is classified right.
    `found` has learned (True, False; None: not judged, as a step of one's own may do anything, and a
    loss that begins at 0 or below has no known least value), steps, first
    and last (the loss of the batch in evaluation mode), right (the share of right classes; None: no classes), examples,
    reasons: a list of {cause, layer, evidence, remedy}, the likeliest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start: dict[str, Any] = {}

    @contextlib.contextmanager
    def watching(self, run: "Run") -> Iterator[None]:
        """Measure the batch with the first weights, and keep these."""
        self._run = run
        self._start = {name: value.clone() for name, value in run.model.state_dict().items()}
        first = batch_loss(run)
        self.found = {"learned": None, "steps": run.state.step, "first": first, "last": first, "right": None}
        self.found |= {"examples": len(run.data.train), "reasons": []}  # type: ignore[arg-type]
        try:
            yield
        except Diverged as error:
            self.found |= {"learned": False, "steps": run.state.step, "last": None}
            self.found["reasons"] = tried(run, self._start, self.found["first"])
            raise self._failure(str(error)) from error

    def record(self, event: Event) -> None:
        """Measure the batch with each validation, and stop the run if it is learned."""
        if isinstance(event, Epoch):
            last, right = batch_loss(self._run), share_right(self._run)
            judged = self.found["first"] > 0 and self._run.parts.step is None
            learned = (last <= LEARNED * self.found["first"] or right == 1) if judged else None
            self.found |= {"steps": event.step, "last": last, "right": right, "learned": learned}
            if learned:
                self._run.stopped = f"one batch is learned after {event.step:,} steps"

    def ended(self, run: "Run") -> Iterator[Event]:
        """Look for reasons if the batch is not learned, and yield debug/overfit.json."""
        from runner.training.debugging.reasons import reasons

        if self.found["learned"] is False:
            self.found["reasons"] = reasons(run, self._start, self.found)
        self._start = {}
        yield artifact(run, "overfit", self.found)

    def lines(self) -> list[str]:
        """Return one line for a batch that is learned, or whose loss has no known least value."""
        f, of = self.found, f"one batch of {self.found['examples']:,} examples"
        fell = f"its loss went from {f['first']:.4g} to {f['last']:.4g} in {f['steps']:,} steps"
        if f["learned"] is None:
            return [f"debug=overfit: {of}: {fell}; judge it yourself, as the least value of such a loss is not known"]
        return [f"debug=overfit: {of} is learned: {fell}"]

    def judge(self) -> None:
        """Raise Failure with all reasons if the batch is not learned."""
        if self.found["learned"] is False:
            raise self._failure(f"its loss went from {self.found['first']:.4g} to {self.found['last']:.4g}")

    def _failure(self, how: str) -> Failure:
        f = self.found
        right = "" if f["right"] is None else f", or all classes right ({f['right']:.0%} are)"
        most = f"at most {LEARNED * f['first']:.4g}, {LEARNED:.0%} of the first{right}"
        what = f"one batch of {f['examples']:,} examples is not learned in {f['steps']:,} steps"
        reasons = [f"{number}. {one['evidence']}; {one['remedy']}" for number, one in enumerate(f["reasons"], 1)]
        return Failure("\n".join([f"debug=overfit: {what}: {how}; expected {most}. Likeliest first:", *reasons]))


def share_right(run: "Run") -> float | None:
    """Return the share of examples whose class is the largest output; None for what is no classification."""
    if run.data.task != "multiclass":
        return None
    y, output = measure.outputs(run, run.data.train)
    if not (isinstance(y, Tensor) and isinstance(output, Tensor) and output.dim() == y.dim() + 1):
        return None
    counted = y != (-100 if run.data.ignored is None else run.data.ignored)
    right = (output.argmax(1) == y)[counted]
    return host.number(right.double().mean()) if len(right) else math.nan
