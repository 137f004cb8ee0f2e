"""What code of one's own holds beside parameters, buffers and the optimizer's state.

A replayed step does not run that code's Python, so a counter, a list or a generator of its own would stand still, and
trying the step both ways would move it on twice. Where a step changes such a thing, it is not captured.
"""

import contextlib
import pickle
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from runner.settings import torch_private
from runner.training.capture import reads
from runner.training.parts.batches import is_own

#: Attributes that modules and optimizers have of torch; what stands in them is compared by itself.
TORCHS = {*vars(nn.Module()), *vars(torch.optim.SGD([torch.zeros(1)]))}


class Hidden:
    """The attributes of all modules and optimizers of one's own among `roots`, and the memory of all their tensors.

    roots: of a run: the loss, the model, the optimizer.
    """

    def __init__(self, roots: Iterable[Any] = ()) -> None:
        self._roots = list(roots)
        parts = [part for one in self._roots for part in (one.modules() if isinstance(one, nn.Module) else [one])]
        self.parts = [part for part in parts if is_own(part)]

    def state(self) -> dict[str, Any]:
        """Return what the attributes are now, by the name that a message gives them."""
        return {
            f"{type(part).__name__}.{name}": _content(value)
            for part in self.parts
            for name, value in vars(part).items()
            if name not in TORCHS
        }

    def memory(self) -> list[Tensor]:
        """Return tensors that hold the memory in which parameters and buffers lie."""
        return [tensor.detach() for tensor in self._tensors()]

    def lies_in(self, memory: list[Tensor]) -> bool:
        """Return whether parameters and buffers lie where they did when `memory` was taken."""
        return [*map(torch_private.storage, self._tensors())] == [*map(torch_private.storage, memory)]

    def guarded(self) -> AbstractContextManager[Any]:
        """Return a block in which code of one's own that reads numbers past torch's operations raises Uncapturable."""
        return reads.refused() if self.parts else contextlib.nullcontext()

    def place(self) -> tuple[Any, ...]:
        """Return what tells where parameters and buffers lie, and what the attributes are, if any code is one's own."""
        if not self.parts:
            return ()
        return (*map(torch_private.storage, self._tensors()), *self.state().values())

    def _tensors(self) -> list[Tensor]:
        modules = [one for one in self._roots if isinstance(one, nn.Module)]
        return [tensor for one in modules for tensor in (*one.parameters(), *one.buffers())]


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the name of an attribute that is another one now; "" where there is none."""
    names = [*before, *(name for name in after if name not in before)]
    return next((name for name in names if before.get(name) != after.get(name)), "")


def _content(value: Any) -> Any:
    """Return what two contents are compared by: bytes, or the object itself where it has none."""
    try:
        return pickle.dumps(value)
    except Exception:  # a function in a block, an open file, anything of a person's own
        return id(value)
