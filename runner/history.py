"""The losses and metrics of a run as far as it has come, for plots and for what is best."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from runner.events import Epoch, Event, Finished, Step

#: Losses are read back from their device this many at a time: each reading waits for the device.
CHUNK = 1000


@dataclass
class History:
    """metric -> (optimizer steps so far, value)."""

    _points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    _pending: list[Step] = field(default_factory=list)

    def record(self, event: Event) -> None:
        if isinstance(event, Step):
            self._pending.append(event)
            if len(self._pending) >= CHUNK:
                self._read()
        elif isinstance(event, Epoch | Finished):
            self._read()
            for name, value in event.metrics.items():
                self._points.setdefault(name, []).append((event.step, value))

    @property
    def points(self) -> dict[str, list[tuple[int, float]]]:
        self._read()
        return self._points

    def taken(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        columns = {
            name: (torch.tensor([s for s, _ in found]), torch.tensor([v for _, v in found], dtype=torch.float64))
            for name, found in self.points.items()
        }
        return {"points": columns}

    def restore(self, taken: dict[str, Any]) -> None:
        """Begin with what `taken` gave."""
        for name, (steps, values) in taken["points"].items():
            self._points[name] = list(zip(steps.tolist(), values.tolist(), strict=True))

    def _read(self) -> None:
        if self._pending:
            values = read(self._pending)
            self._points.setdefault("train/loss", []).extend(values)
            self._pending.clear()


def read(steps: list[Step]) -> list[tuple[int, float]]:
    """(step, loss) of many steps in one reading from the device."""
    unread = [s for s in steps if s.value is None]
    if unread:
        losses: list[Tensor] = [s.loss for s in unread]
        for step, value in zip(unread, torch.stack(losses).tolist(), strict=True):
            step.value = value
    return [(s.step, s.read()) for s in steps]
