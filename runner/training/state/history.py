"""The losses and metric values of a run so far."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.model import host
from runner.training.events import Epoch, Event, Finished, Step, Steps

#: Losses are read from their device this many at a time: each reading waits for the device.
CHUNK = 1000

Point = tuple[int, float]


class Points(Sequence[Point]):
    """The values of one metric in order, a sequence of (optimizer steps so far, value).

    An entry takes 16 bytes, where a tuple would take 130.
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._steps, self._values = array("q"), array("d")
        self.extend(points)

    def append(self, step: int, value: float) -> None:
        """Append one value."""
        self._steps.append(step)
        self._values.append(value)

    def extend(self, points: Iterable[Point]) -> None:
        """Append pairs of step and value."""
        for step, value in points:
            self.append(step, value)

    def extend_steps(self, steps: Steps) -> None:
        """Append the losses of consecutive steps."""
        self._steps.extend(range(steps.first, steps.step + 1))
        self._values.frombytes(steps.losses.tobytes())

    def extend_columns(self, steps: Tensor, values: Tensor) -> None:
        """Append values from two tensors of shape (n,), the steps and the values."""
        self._steps.frombytes(host.content(steps.long()))
        self._values.frombytes(host.content(values.double()))

    def columns(self, start: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return copies of steps and values from index `start` on, each of shape (n,)."""
        return np.array(self._steps[start:], np.int64), np.array(self._values[start:], np.float64)

    def tensors(self, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return the columns as two tensors, int64 and float64."""
        steps, values = self.columns(start)
        return torch.from_numpy(steps), torch.from_numpy(values)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Point]:
        return zip(self._steps, self._values, strict=True)

    @overload
    def __getitem__(self, index: int) -> Point: ...

    @overload
    def __getitem__(self, index: slice) -> list[Point]: ...

    def __getitem__(self, index: int | slice) -> Point | list[Point]:
        if isinstance(index, slice):
            return list(zip(self._steps[index], self._values[index], strict=True))
        return self._steps[index], self._values[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Points({list(self)})"


@dataclass
class History:
    """An observer that collects the losses and metric values of a run by name."""

    takes_steps: ClassVar[bool] = True
    _points: dict[str, Points] = field(default_factory=dict)
    _pending: list[Step] = field(default_factory=list)
    pieces: dict[str, int] = field(default_factory=dict)  # metric -> number of its values that are in pieces already
    piece: dict[str, str] | None = None  # `file` and `sha256` of the newest piece, see state/pieces.py

    def record(self, event: Event) -> None:
        """Collect the losses of a step, or the metric values of an epoch or of the end."""
        if isinstance(event, Step):
            self._pending.append(event)
            if len(self._pending) >= CHUNK:
                self._read()
        elif isinstance(event, Steps):
            self._read()
            self._of("train/loss").extend_steps(event)
        elif isinstance(event, Epoch | Finished):
            self._read()
            for name, value in event.metrics.items():
                self._of(name).append(event.step, value)

    @property
    def points(self) -> dict[str, Points]:
        """All values by name, such as `train/loss`."""
        self._read()
        return self._points

    def state_dict(self) -> dict[str, Any]:
        """Return the values that are in no piece yet, as tensors, and the newest piece."""
        return {"points": self.rest(), "piece": self.piece}

    def rest(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return steps and values of every metric that are in no piece yet."""
        return {name: points.tensors(self.pieces.get(name, 0)) for name, points in self.points.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin with a state that `state_dict` returned.

        state: with `earlier` in it, the contents of the pieces before, the oldest first.
        """
        for points in state.get("earlier", ()):
            self._extend(points)
        self.piece = state.get("piece")  # a checkpoint of a version without pieces contains everything
        self.pieces = {name: len(points) for name, points in self._points.items()} if self.piece else {}
        self._extend(state["points"])

    def _extend(self, points: dict[str, tuple[Tensor, Tensor]]) -> None:
        for name, (steps, values) in points.items():
            self._of(name).extend_columns(steps, values)

    def _of(self, name: str) -> Points:
        points = self._points.get(name)
        return self._points.setdefault(name, Points()) if points is None else points

    def _read(self) -> None:
        if self._pending:
            for name, points in read(self._pending).items():
                self._of(name).extend(points)
            self._pending.clear()


def read(steps: list[Step]) -> dict[str, list[Point]]:
    """Return the losses of many steps by name, each as (step, value), in one reading from the device."""
    unread = [s for s in steps if s.value is None]
    if unread:
        for step, value in zip(unread, host.numbers(torch.stack([s.loss for s in unread])), strict=True):
            step.value = value
    points: dict[str, list[Point]] = {"train/loss": [(s.step, s.read()) for s in steps]}
    others = [(f"train/{name}", s.step, loss) for s in steps for name, loss in s.others]
    if others:
        place = others[0][2].device  # a step of one's own may count on another one, and in whole numbers
        wide = torch.float32 if place.type == "mps" else torch.float64
        numbers = host.numbers(torch.stack([loss.to(place, wide) for *_, loss in others]))
        for (name, number, _), value in zip(others, numbers, strict=True):
            points.setdefault(name, []).append((number, value))
    return points
