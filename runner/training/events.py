"""Events of a run, and the protocol of those that observe them.

A run yields events between two steps; `drive` hands each to every observer. Write one of your own to follow a training:

    class Losses:
        def record(self, event: Event) -> None:
            if isinstance(event, Step):
                print(event.step, event.read())

    drive(run, Losses())
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
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
    value: float | None = None  # the loss as a number, if it has been read
    others: tuple[tuple[str, Tensor], ...] = ()  # further losses of the step, with their names

    def read(self) -> float:
        """Return the loss as a number. The first call waits for the device."""
        if self.value is None:
            self.value = host.number(self.loss)
        return self.value


def taken(number: int, loss: Any, name: str = "the step") -> Step:
    """Return the event of step `number`. loss: its loss, or several by name with one called "loss" among them.

    name: of the step, for messages. Raises ConfigError for anything else, which a step of one's own may return.
    """
    if isinstance(loss, Tensor) and not loss.dim():
        return Step(number, loss.detach() if loss.requires_grad else loss)  # a graph would hold all of the step
    if not isinstance(loss, Mapping) or any(not isinstance(v, Tensor) or v.dim() for v in loss.values()):
        expected = "it must return the loss, a tensor without dimensions, or several by name"
        raise ConfigError("trainer.step", f"{name} returned {_described(loss)}; {expected}")
    _check_names(tuple(loss), name)
    values = {name: value.detach() for name, value in loss.items()}
    return Step(number, values.pop("loss"), others=tuple(values.items()))


@lru_cache(16)
def _check_names(names: tuple[Any, ...], step: str) -> None:
    """Raise ConfigError for names of losses that MLflow refuses, or that are those of other values."""
    if "loss" not in names:
        raise ConfigError("trainer.step", f"{step} returned {', '.join(map(str, names))}; one must be called 'loss'")
    for name in names:
        if not isinstance(name, str) or len(name) > LONGEST or not re.fullmatch(NAME, name):
            raise ConfigError("trainer.step", f"{step} returned {name!r}; use letters, digits and _ for a loss's name")
        if name == "eval_loss":
            raise ConfigError("trainer.step", f"{step} returned {name!r}, which is that of all training data")


def _described(loss: Any) -> str:
    """Return what a step has returned, in words: the first value that is wrong, if there are several."""
    if isinstance(loss, Mapping):
        wrong = [(k, v) for k, v in loss.items() if not isinstance(v, Tensor) or v.dim()]
        return f"{wrong[0][0]}, {_described(wrong[0][1])}"
    shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
    return "None" if loss is None else f"a {type(loss).__name__}{shape}"


@dataclass(slots=True)
class Steps:
    """Several optimizer steps were taken at once, as a program of many models does.

    Observers with `takes_steps` are given it; to any other one it comes as a `Step` each, see `deliver`.
    """

    first: int  # number of the first of these steps, from 1
    losses: NDArray[np.float64]  # of their batches, each before its step, of shape (steps,)

    @property
    def step(self) -> int:
        """Optimizer steps so far, these among them."""
        return self.first + len(self.losses) - 1

    def each(self) -> Iterator[Step]:
        """Yield the steps one by one. Their losses are on the host and have been read."""
        for number, value in enumerate(map(float, self.losses), self.first):
            yield Step(number, torch.tensor(value), value)


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
    sha256: dict[str, str] | None = None  # of the files by their names; None: as in the folder's sha256.json


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


Event = Step | Steps | Epoch | Snapshot | Finished | Artifacts | Served


class Observer(Protocol):
    """Records the events of a run: the tracker, the screen, the history, or a class of your own.

    One with a class variable `takes_steps = True` is given `Steps` where several steps are taken at once.
    """

    def record(self, event: Event) -> None:
        """Record an event. It is called between two steps, so training waits for it; what it raises ends the run."""


class Silence:
    """An observer that does nothing."""

    takes_steps = True

    def record(self, event: Event) -> None:
        """Ignore the event."""


def deliver(observers: Iterable[Observer], steps: Steps) -> None:
    """Let every observer record steps that were taken at once, one by one where it does not take them together."""
    for observer in observers:
        if getattr(observer, "takes_steps", False):
            observer.record(steps)
        else:
            for step in steps.each():
                observer.record(step)
