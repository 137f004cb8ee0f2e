"""Drive a run to its end: take its steps, and hand every event to the observers."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from runner.settings import memory
from runner.training import finish
from runner.training.capture import choice
from runner.training.events import Event, Observer
from runner.training.loop import train
from runner.training.pending import Pending
from runner.training.run import Run
from runner.training.state.checkpoint import CheckpointError
from runner.training.subject import Subject

#: Returns the error that is to end the run, such as Interrupted; None while it goes on.
Stop = Callable[[], BaseException | None]
#: Writes the plots of a run into a folder.
Draw = Callable[[Subject, Path], None]


@memory.explained
def drive(run: Run, *observers: Observer, stop: Stop = lambda: None, draw: Draw = finish.draw) -> None:
    """Train to the end; each observer records every event.

    run: from `prepare`; one that was resumed goes on from its step.
    observers: record events in this order, after the run's own history.
    stop: is called between two steps; an error that it returns ends the run, and is raised after a checkpoint.
    draw: writes the plots at the end into a folder.
    Raises Diverged when a loss or a weight is not finite, OutOfMemory when a step does not fit on the device, Failure
    where `trainer.debug` was to show something that is not so, and whatever an observer raises.

        run = prepare(settings, "mine")
        drive(run)
        run.history["valid/loss"][-1]   # (step, value)
    """
    all_observers, run.stop = (run.recorder, *observers, run.debugging, run.health.follow(run)), stop
    try:
        with run.debugging.watching(run):
            advance(run, all_observers)
        conclude(run, all_observers, draw)
        run.debugging.judge()
    finally:
        run.readers.close()


def advance(run: Run, observers: Iterable[Observer]) -> None:
    """Take the steps that are left, up to the last one or to the one after which the run is stopped."""
    choice.leave_alone(run.step, observers, run.schedule, run.frozen)
    try:
        with Pending(run, observers) as pending:
            for step in () if run.stopped else train(run.state, run.debugging.batches(run), run.step):
                pending.add(step)
                for event in run.after(step, pending.validate):
                    pending.flush()
                    record(observers, [event])
                if (reason := run.stop()) is not None:
                    pending.flush()
                    interrupt(run, observers, reason)
                    raise reason
                if run.stopped:
                    break
    except Exception as error:
        rescue(run, observers, error)
        raise


def interrupt(run: Run, observers: Iterable[Observer], reason: BaseException) -> None:
    """Write a checkpoint before `reason` ends the run; if that fails, `reason` gets a note."""
    try:
        record(observers, run.snapshots())
    except CheckpointError as error:
        reason.add_note(f"and its checkpoint is not saved: {error}")


def rescue(run: Run, observers: Iterable[Observer], error: Exception) -> None:
    """Write the best weights so far of a run that ends with `error`."""
    run.stop = partial(_return, error)  # do not wait again for a full disk
    try:
        record(observers, run.best_snapshot())
    except Exception as another:
        error.add_note(f"and the best model so far cannot be written: {another}")


def conclude(run: Run, observers: Iterable[Observer], draw: Draw = finish.draw) -> None:
    """Record the end of a training: checkpoint, predictions, test values, plots.

    Raises an error that `run.stop` returns meanwhile.
    """
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
