"""Write a run's checkpoints: the present weights, and the best so far."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.files import durable
from runner.training.events import Snapshot
from runner.training.finite import check_model
from runner.training.state import checkpoint, pieces

if TYPE_CHECKING:
    from runner.training.run import Run


@dataclass
class Written:
    """The checkpoints and pieces that a run has written."""

    steps: dict[str, int] = field(default_factory=dict)  # checkpoint -> the step of its newest files
    pieces: list[Path] = field(default_factory=list)  # of the history, that are in no event yet


def all_of(run: "Run") -> Iterator[Snapshot]:
    """Write the present weights and the best so far, and yield an event for each; skip those written already."""
    if run.written.steps.get("last") != run.state.step:
        yield _written(run, "last", run.state.step)
    yield from best_of(run)


def best_of(run: "Run") -> Iterator[Snapshot]:
    """Write the best weights so far, and yield the event; nothing if they are written already."""
    if run.best.weights is not None and run.written.steps.get("best") != run.best.step:
        with run.weights("best"):
            event = _written(run, "best", run.best.step)
        yield event


def _written(run: "Run", name: str, step: int) -> Snapshot:
    # A folder of its own: files of an earlier one may still be on their way to the store.
    folder = run.folder / f"{name}-{step}"
    check_model(run.model, step)
    training = _training(run) if name == "last" and run.trains else None
    form = run.settings.checkpoint.format
    durable.patiently(lambda: checkpoint.save(folder, run.model, form, training, lasting=False), run.stop)
    run.written.steps[name] = step
    new, run.written.pieces = run.written.pieces, []
    return Snapshot(name, step, folder, new)


def _training(run: "Run") -> dict[str, Any]:
    """Return the run's state for `training.pt`; writes a piece of the history first if there are many new values."""
    place = run.folder / f"history-{run.state.step}"
    if durable.patiently(lambda: pieces.write(run.recorder, place), run.stop):
        run.written.pieces.append(place)
    return run.state_dict()
