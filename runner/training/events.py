"""Events of a run, and the protocol of those that observe them.

A run yields events between two steps; `drive` hands each to every observer. Write one of your own to follow a training:

    class Losses:
        def record(self, event: Event) -> None:
            if isinstance(event, Step):
                print(event.step, event.read())

    drive(run, Losses())
"""

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
    value: float | None = None  # the loss as a number, if it has been read
    others: tuple[tuple[str, Tensor], ...] = ()  # further losses of the step, with their names

    def read(self) -> float:
        """Return the loss as a number. The first call waits for the device."""
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
    """An epoch has ended with a validation."""

    epoch: int  # epochs so far
    step: int
    metrics: dict[str, float]  # valid/loss, valid/<metric>, lr, epoch


@dataclass
class Snapshot:
    """A checkpoint was written into `folder`.

    name: `last` or `best`.
    step: optimizer steps of the weights in it.
    pieces: folders with files of the history that this and all later checkpoints need; paths inside of them are those
        of the artifacts. They stay when the checkpoint is deleted.
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
    tags: dict[str, str] = field(default_factory=dict)  # of the run's record


@dataclass
class Artifacts:
    """Artifacts of the run were written: all files in `folder`, whose paths inside of it are those of the artifacts."""

    folder: Path


@dataclass
class Served:
    """The best model, of `step`, was written as an MLflow model: all of `folder`."""

    step: int
    folder: Path


Event = Step | Epoch | Snapshot | Finished | Artifacts | Served


class Observer(Protocol):
    """Records the events of a run: the tracker, the screen, the history, or a class of your own."""

    def record(self, event: Event) -> None:
        """Record an event. It is called between two steps, so training waits for it; what it raises ends the run."""


class Silence:
    """An observer that does nothing."""

    def record(self, event: Event) -> None:
        """Ignore the event."""
