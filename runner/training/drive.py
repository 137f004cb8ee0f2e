"""Driving a run to its end: steps are taken, and every event goes to the observers."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from runner.settings import memory
from runner.training import finish
from runner.training.events import Event, Observer
from runner.training.finite import Finite
from runner.training.loop import train
from runner.training.run import Run
from runner.training.state.checkpoint import CheckpointError
from runner.training.subject import Subject

#: What is to end the run, if anything is.
Stop = Callable[[], BaseException | None]
#: Writes the plots of a run into a folder.
Draw = Callable[[Subject, Path], None]


@memory.told
def drive(run: Run, *observers: Observer, stop: Stop = lambda: None, draw: Draw = finish.draw) -> None:
    """Train to the end; each observer records every event.

    stop: is called between two steps; what it returns ends the run there, and is raised after a checkpoint.
    draw: writes the plots at the end.
    Raises Diverged when the loss is no finite number.
    """
    watching, run.stop = (run.history_, *observers), stop
    advance(run, watching)
    conclude(run, watching, draw)


def advance(run: Run, observers: Iterable[Observer]) -> None:
    """Take the steps that are left, up to the last one or to what stops the run."""
    finite = Finite(run.device.type != "cpu")
    try:
        for step in () if run.stopped else train(run.state, run.batches(), run.step):
            finite.check(step)
            for observer in observers:
                observer.record(step)
            record(observers, run.after(step))
            if (reason := run.stop()) is not None:
                interrupt(run, observers, reason)
                raise reason
            if run.stopped:
                break
        finite.check_last()
    except Exception as error:
        rescue(run, observers, error)
        raise


def interrupt(run: Run, observers: Iterable[Observer], reason: BaseException) -> None:
    """Write a checkpoint before `reason` ends the run. A disk that does not take it changes nothing in that."""
    try:
        record(observers, run.snapshots())
    except CheckpointError as error:
        reason.add_note(f"and its checkpoint is not saved: {error}")


def rescue(run: Run, observers: Iterable[Observer], error: Exception) -> None:
    """Write the best weights so far of a run that `error` ends."""
    run.stop = partial(_return, error)  # a full disk has been waited for
    try:
        record(observers, run.best_snapshot())
    except Exception as another:
        error.add_note(f"and the best model so far cannot be written: {another}")


def conclude(run: Run, observers: Iterable[Observer], draw: Draw = finish.draw) -> None:
    """Record the end of a training that is over. Raises what stops the run meanwhile."""
    for event in finish.finish(run, draw):
        record(observers, [event])
        if (reason := run.stop()) is not None:
            raise reason


def record(observers: Iterable[Observer], events: Iterable[Event]) -> None:
    """Let every observer record every event."""
    for event in events:
        for observer in observers:
            observer.record(event)


def _return(error: BaseException) -> BaseException:
    return error
