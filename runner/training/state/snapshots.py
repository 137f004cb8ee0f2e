"""Writes a run's checkpoints: the model as it is, and the best one so far."""

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
    """What a run has written already."""

    steps: dict[str, int] = field(default_factory=dict)  # checkpoint -> the step of its newest files
    pieces: list[Path] = field(default_factory=list)  # of the history, which no event has named yet


def all_of(run: "Run") -> Iterator[Snapshot]:
    """Write the model as it is and the best one so far, unless their newest files are these already."""
    if run.written.steps.get("last") != run.state.step:
        yield _written(run, "last", run.state.step)
    yield from best_of(run)


def best_of(run: "Run") -> Iterator[Snapshot]:
    """Write the best model so far, unless its newest files are that already."""
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
    """Return the state that the next step depends on, after writing a piece if there are many new points."""
    place = run.folder / f"history-{run.state.step}"
    if durable.patiently(lambda: pieces.write(run.history_, place), run.stop):
        run.written.pieces.append(place)
    return run.state_dict()
