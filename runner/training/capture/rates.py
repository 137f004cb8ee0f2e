"""Learning rates as tensors of an accelerator, so that a captured optimizer step reads the rate of the moment.

A graph holds every number that Python has given it. The rate changes with a schedule, so on accelerators torch's fused
optimizers read it from a tensor, captured or not: float32 there, which is the rate rounded once.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch

#: The largest rate of 32 bits.
MOST = torch.finfo(torch.float32).max
#: Keys of an optimizer's group that are not numbers of its formula, or that a graph reads from a tensor.
FREE = ("params", "lr", "initial_lr", "capturable")


class Rates:
    """The learning rates of an optimizer, one tensor for each of its groups."""

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer  # whose groups are others after a checkpoint was loaded
        self.captures = fuses(optimizer)
        self._tensors = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self._written: list[float] = []
        self._numbers: list[dict[str, Any]] = []

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups."""
        return self.optimizer.param_groups

    def changes(self) -> bool:
        """Return whether another number of the optimizer than its rate has changed, as a momentum that is scheduled."""
        numbers = [{k: v for k, v in group.items() if k not in FREE} for group in self.optimizer.param_groups]
        before, self._numbers = self._numbers or numbers, numbers
        return numbers != before

    def write(self) -> None:
        """Write the present rates into the tensors, if they have changed."""
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        if rates != self._written:
            for tensor, rate in zip(self._tensors, rates, strict=True):
                tensor.fill_(rate if abs(rate) <= MOST else math.inf)  # such a training diverges
            self._written = rates

    def step(self, captured: bool = False) -> None:
        """Let the optimizer take its step with the rates in the tensors. captured: while a graph is captured."""
        with self._in_place(captured):
            self.optimizer.step()

    @contextlib.contextmanager
    def _in_place(self, captured: bool) -> Iterator[None]:
        before: list[dict[str, Any]] = [
            {name: group[name] for name in ("lr", "capturable") if name in group}
            for group in self.optimizer.param_groups
        ]
        for group, own, tensor in zip(self.optimizer.param_groups, before, self._tensors, strict=True):
            group["lr"] = tensor
            if captured and "capturable" in own:  # torch asks for it, though a fused step always is
                group["capturable"] = True
        try:
            yield
        finally:
            for group, own in zip(self.optimizer.param_groups, before, strict=True):
                group.update(own)


def fuses(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether all of an optimizer's step is one of torch's fused operations."""
    return all(group.get("fused") for group in optimizer.param_groups)
