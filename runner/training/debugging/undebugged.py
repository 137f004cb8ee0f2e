"""A run that nothing looks into."""

import contextlib
from collections.abc import Iterator
from typing import Any

from runner.training.events import Event, Silence
from runner.training.loop import Parts


class Undebugged(Silence):
    """An observer of a run that does nothing. Those that look into it override what they need."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}  # what was seen, as plain values; the artifact debug/<kind>.json

    def watching(self, run: Any) -> contextlib.AbstractContextManager[None]:
        """Return the block in which the run's steps are taken."""
        return contextlib.nullcontext()

    def batches(self, run: Any) -> Iterator[Parts]:
        """Yield every optimizer step's batches, as `run.batches` does."""
        return run.batches()  # type: ignore[no-any-return]

    def ended(self, run: Any) -> Iterator[Event]:
        """Yield what was found as artifacts, after the last step. The run's weights are those of then."""
        return iter(())

    def lines(self) -> list[str]:
        """Return what was found in lines for people."""
        return []

    def judge(self) -> None:
        """Raise Failure where what was to be shown is not so; the record is complete then."""
