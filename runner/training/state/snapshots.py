"""Write a run's checkpoints, each into a folder of its own on the way to the tracking store."""

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
    """The checkpoints that a run has written into `folder`.

    steps: checkpoint, "last" or "best" -> the step of its newest files.
    """

    folder: Path
    form: str  # state_dict | model | both
    steps: dict[str, int] = field(default_factory=dict)
    _pieces: list[Path] = field(default_factory=list)  # of the history, that are in no event yet

    def write(
        self,
        name: str,
        step: int,
        model: nn.Module,
        stop: Callable[[], BaseException | None],
        training: Callable[[], dict[str, Any]] | None = None,
        packings: dict[str, tuple[memoryview, str]] | None = None,
    ) -> Snapshot:
        """Write the model as checkpoint `name` of `step`, and return the event.

        stop: a full disk is waited for until this returns an error.
        training: returns the state for `training.pt`.
        packings: of the same weights, as `checkpoint.save` takes them.
        Raises CheckpointError when the files cannot be written, Diverged for weights that are not finite.
        """
        # A folder of its own: files of an earlier one may still be on their way to the store.
        folder = self.folder / f"{name}-{step}"
        if not packings:
            check_model(model, step)
        state = training() if training is not None else None
        digests = durable.patiently(lambda: checkpoint.save(folder, model, self.form, state, False, packings), stop)
        self.steps[name] = step
        new, self._pieces = self._pieces, []
        return Snapshot(name, step, folder, new, digests)

    def write_piece(self, history: History, step: int, stop: Callable[[], BaseException | None]) -> None:
        """Write the new values of the history into a piece, if they are many; the next event names it."""
        place = self.folder / f"history-{step}"
        if durable.patiently(lambda: pieces.write(history, place), stop):
            self._pieces.append(place)
