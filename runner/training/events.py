"""What happens during a run, and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from runner.model import host


@dataclass(slots=True)
class Step:
    """An optimizer step was taken."""

    step: int  # optimizer steps so far, from 1
    loss: Tensor  # of the batch, before the step; on its device, so that nothing waits for it
    value: float | None = None  # the loss as a number, if somebody has read it
    others: tuple[tuple[str, Tensor], ...] = ()  # further losses of the step, with their names

    def read(self) -> float:
        """The loss as a number. Waits for the device the first time."""
        if self.value is None:
            self.value = host.number(self.loss)
        return self.value


def taken(number: int, loss: Tensor | Mapping[str, Tensor]) -> Step:
    """Return the event of step `number`. loss: its loss, or several by name with one called "loss" among them."""
    if isinstance(loss, Tensor):
        return Step(number, loss)
    return Step(number, loss["loss"], others=tuple(pair for pair in loss.items() if pair[0] != "loss"))


@dataclass
class Epoch:
    """The training data was passed through once more, and the validation data looked at."""

    epoch: int  # epochs so far
    step: int
    metrics: dict[str, float]  # valid/loss, valid/<metric>, lr


@dataclass
class Snapshot:
    """A checkpoint was written: `folder` holds its files, `name` is `last` or `best`.

    pieces: folders with files that the checkpoint needs and that stay when it goes, in the places that they have inside
        of the folder.
    """

    name: str
    step: int
    folder: Path
    pieces: list[Path] = field(default_factory=list)


@dataclass
class Finished:
    """Training is over."""

    step: int
    metrics: dict[str, float]  # test/loss, test/<metric>
    reason: str  # why it ended: all epochs done, or no improvement
    tags: dict[str, str] = field(default_factory=dict)  # what to find the run by


@dataclass
class Kept:
    """Files were written that belong to the record, in the places that they have inside of `folder`."""

    folder: Path


@dataclass
class Served:
    """The best model, of `step`, was written as an MLflow model: all of `folder`."""

    step: int
    folder: Path


Event = Step | Epoch | Snapshot | Finished | Kept | Served


class Observer(Protocol):
    """Somebody who is told: the tracker, the screen, the history."""

    def record(self, event: Event) -> None:
        """Take note of an event; called between two steps, so it must be quick."""


class Silence:
    """An observer that takes no notice."""

    def record(self, event: Event) -> None:
        pass
