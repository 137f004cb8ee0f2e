"""The checkpoints of a run: its present weights and the best so far, written into files or put into the model."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import nn

from runner.training.events import Snapshot
from runner.training.loop import State
from runner.training.state import checkpoint
from runner.training.state.best import Best
from runner.training.state.history import History
from runner.training.state.snapshots import Snapshots

#: Packed weights that two checkpoints may have in common, by the names of their files.
Packings = dict[str, tuple[memoryview, str]]


class Saved(Protocol):
    """The part of a run that its checkpoints need."""

    state: State
    best: Best
    written: Snapshots
    recorder: History
    average: Any

    @property
    def stop(self) -> Callable[[], BaseException | None]:
        """The function that returns the error with which the run is to end, or None."""

    @property
    def model(self) -> nn.Module:
        """The model, whose weights are written."""

    @property
    def trains(self) -> bool:
        """True if there is a state of training to be written."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of training."""


@contextlib.contextmanager
def weights(run: Saved, name: str) -> Iterator[None]:
    """Put the weights of checkpoint `name` into the model for a block, and its own back after it.

    name: best, last, or averaged.
    """
    best = run.best
    if name == "averaged":
        with run.average.shown(run):
            yield
        return
    if name == "last" or best.copied is None or best.is_in(run.model, run.state.step):
        yield
        return
    own = checkpoint.copy(run.model)
    try:
        chosen = best.weights
        assert chosen is not None, "they are there"
        run.model.load_state_dict(chosen)
        yield
    finally:
        run.model.load_state_dict(own)


def snapshots(run: Saved) -> Iterator[Snapshot]:
    """Write the present weights and the best so far, and yield an event for each; skip those written already."""
    step = run.state.step
    packings: Packings | None = {} if run.best.is_in(run.model, step) else None
    if run.written.steps.get("last") != step:

        def training() -> dict[str, Any]:
            run.written.write_piece(run.recorder, step, run.stop)
            return run.state_dict()

        yield run.written.write("last", step, run.model, run.stop, training if run.trains else None, packings)
    for name in run.average.checkpoints:
        yield from averaged(run, name)
    yield from best(run, packings)


def averaged(run: Saved, name: str) -> Iterator[Snapshot]:
    """Write the present average, and yield the event; nothing if it is written already."""
    step = run.state.step
    if run.written.steps.get(name) != step:
        with weights(run, name):
            event = run.written.write(name, step, run.model, run.stop)
        yield event


def best(run: Saved, packings: Packings | None = None) -> Iterator[Snapshot]:
    """Write the best weights so far, and yield the event; nothing if they are written already.

    packings: those of the checkpoint before, if it has the same weights.
    """
    if run.best.copied is not None and run.written.steps.get("best") != run.best.step:
        with weights(run, "best") if packings is None else contextlib.nullcontext():
            event = run.written.write("best", run.best.step, run.model, run.stop, packings=packings)
        yield event
