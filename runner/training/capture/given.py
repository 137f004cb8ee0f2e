"""What captured work takes for given: all of its modules and its optimizer but the content of tensors.

Between two steps anything may be changed: a layer frozen, a dropout's `p`, a weight or an optimizer's state replaced.
Captured work would go on with what was there when it was captured. To look takes a tenth of a small step, so that it is
done only where code that is not ours has the run between two steps.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from runner.settings import torch_private
from runner.settings.values import lookup

#: Numbers of an optimizer's group that each step reads anew.
READ = ("params", "lr", "initial_lr")


class Given:
    """Everything of `modules`, and of an `optimizer` if there is one, that is to stay as it is now.

    given = Given([model], optimizer)
    model[1].p = 0.3
    given.holds()   # False
    """

    def __init__(self, modules: Iterable[nn.Module], optimizer: torch.optim.Optimizer | None = None) -> None:
        self._optimizer = optimizer
        self._dicts: list[dict[Any, Any]] = []
        for module in (part for one in modules for part in one.modules()):
            self._dicts += [vars(module), *(value for value in vars(module).values() if isinstance(value, dict))]
        if optimizer is not None:
            hooks = (value for value in vars(optimizer).values() if isinstance(value, dict))
            tensors = (own for own in optimizer.state.values() if all(isinstance(v, Tensor) for v in own.values()))
            self._dicts += [optimizer.state, *tensors, *hooks]  # numbers of Python change with each step
        self._values = list(self._now())
        self._sizes = list(map(len, self._dicts))
        held = dict.fromkeys(value for value in self._values if isinstance(value, Tensor))
        self._tensors = list(held)
        self._places, self._formula = list(map(_place, self._tensors)), self._read()

    def holds(self) -> bool:
        """Return whether all of it is still the same object, in the same memory."""
        return (
            list(map(len, self._dicts)) == self._sizes
            and all(map(is_, self._values, self._now()))
            and list(map(_place, self._tensors)) == self._places
            and self._read() == self._formula
        )

    def _now(self) -> Iterator[Any]:
        return chain.from_iterable(map(dict.values, self._dicts))

    def _read(self) -> list[Any]:
        """Return the parameters of the optimizer's groups, and which numbers are there: they choose its formula."""
        groups = self._optimizer.param_groups if self._optimizer is not None else []
        return [[*map(id, group["params"]), *(bool(v) for k, v in group.items() if k not in READ)] for group in groups]


def hooked(modules: Iterable[nn.Module], optimizer: torch.optim.Optimizer) -> str:
    """Return which of them has a hook of a person's own, which a replay would not call; "" for none."""
    for module in (part for one in modules for part in one.modules()):
        if any(map(lookup.is_own, torch_private.layer_hooks(module))):
            return f"{type(module).__name__} has a hook of your own"
        if any(torch_private.gradient_hooks(parameter) for parameter in module.parameters(recurse=False)):
            return "a parameter has a hook of your own"
    return (
        "its optimizer has a hook of your own" if any(map(lookup.is_own, torch_private.step_hooks(optimizer))) else ""
    )


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.requires_grad, len(torch_private.gradient_hooks(tensor))
