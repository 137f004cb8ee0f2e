"""Writes a run's checkpoints, each into a folder of its own on the way to the tracking store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from runner.settings.files import durable
from runner.training.events import Snapshot
from runner.training.finite import check_model
from runner.training.state import checkpoint, pieces
from runner.training.state.history import History


@dataclass
class Snapshots:
    """Writes checkpoints, and knows what it has written.

    steps: checkpoint, "last" or "best" -> the step of its newest files.
    """

    folder: Path
    form: str  # state_dict | model | both
    steps: dict[str, int] = field(default_factory=dict)
    _pieces: list[Path] = field(default_factory=list)  # of the history, which no event has named yet

    def write(
        self,
        name: str,
        step: int,
        model: nn.Module,
        stop: Callable[[], BaseException | None],
        training: Callable[[], dict[str, Any]] | None = None,
    ) -> Snapshot:
        """Write the model as checkpoint `name` of `step`. A full disk is waited for until `stop` gives a reason.

        training: returns what else the next step depends on.
        Raises CheckpointError when the files cannot be written, Diverged for weights that are not finite.
        """
        # A folder of its own: files of an earlier one may still be on their way to the store.
        folder = self.folder / f"{name}-{step}"
        check_model(model, step)
        state = training() if training is not None else None
        durable.patiently(lambda: checkpoint.save(folder, model, self.form, state, lasting=False), stop)
        self.steps[name] = step
        new, self._pieces = self._pieces, []
        return Snapshot(name, step, folder, new)

    def write_piece(self, history: History, step: int, stop: Callable[[], BaseException | None]) -> None:
        """Write the new points of the history into a file of their own, if they are many; the next event names it."""
        place = self.folder / f"history-{step}"
        if durable.patiently(lambda: pieces.write(history, place), stop):
            self._pieces.append(place)
