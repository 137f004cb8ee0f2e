"""What happens during a run, and who is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from runner.model import host
from runner.settings.errors import ConfigError

#: Names of further losses, which MLflow takes behind `train/`, and their most letters.
NAME, LONGEST = r"\w[\w\- ]*(/\w[\w\- ]*)*", 100


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


def taken(number: int, loss: Any) -> Step:
    """Return the event of step `number`. loss: its loss, or several by name with one called "loss" among them.

    Raises ConfigError for anything else, which a step of one's own may return.
    """
    if isinstance(loss, Tensor) and not loss.dim():
        return Step(number, loss.detach() if loss.requires_grad else loss)  # a graph would hold all of the step
    if not isinstance(loss, Mapping) or any(not isinstance(v, Tensor) or v.dim() for v in loss.values()):
        raise ConfigError("trainer.step", "it must return the loss, a tensor without dimensions, or several by name")
    _check_names(tuple(loss))
    # Copies: losses are read later, and a step may go on to write into its own.
    values = {name: value.detach().clone() for name, value in loss.items()}
    return Step(number, values.pop("loss"), others=tuple(values.items()))


@lru_cache(16)
def _check_names(names: tuple[Any, ...]) -> None:
    """Raise ConfigError for names of losses that MLflow refuses, or that are those of other values."""
    if "loss" not in names:
        raise ConfigError("trainer.step", f"it returned {', '.join(map(str, names))}; one must be called 'loss'")
    for name in names:
        if not isinstance(name, str) or len(name) > LONGEST or not re.fullmatch(NAME, name):
            raise ConfigError("trainer.step", f"it returned {name!r}; use letters, digits and _ for a loss's name")
        if name == "eval_loss":
            raise ConfigError("trainer.step", f"it returned {name!r}, the loss on all training data; use another name")


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
