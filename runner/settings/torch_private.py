"""Private names of torch, each behind a function: a release may move them without notice.

tests/settings/test_torch_private.py names the release in which one of them is gone. Nothing here falls back in silence.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def writes(tensor: Tensor) -> int:
    """Return how often the memory of `tensor` has been written into in place, by which autograd finds stale values."""
    return tensor._version


def has_step_pre_hooks(optimizer: Optimizer) -> bool:
    """Return whether something is done to the gradients before each step of `optimizer`, such as clipping."""
    return bool(optimizer._optimizer_step_pre_hooks)


def fused_adam(decoupled: bool) -> Callable[..., None]:
    """Return torch's fused step of Adam, or of AdamW, whose weight decay is decoupled, over lists of tensors."""
    return torch._fused_adamw_ if decoupled else torch._fused_adam_


def spare_dynamo(optimizer: type[Optimizer]) -> None:
    """Let `optimizer` be made and used without torch._dynamo. Call it before making one, if nothing is compiled.

    torch 2.13 loads torch._dynamo, which takes a second, for the first optimizer, to keep compilers out of the methods
    of an optimizer, and again in every `step`. Where nothing is compiled, the methods are called as they are. With a
    torch that has other names this does nothing, and only the second is lost: the one function here that may fall back.
    """
    for method in list(vars(Optimizer).values()):
        if _is_wrapped_by(getattr(torch, "_disable_dynamo", None), method):
            # The name under which torch itself remembers what it has made of the method.
            method.__wrapped__.__dict__.setdefault("__dynamo_disable", method.__wrapped__)
    step, home = optimizer.step, importlib.import_module(Optimizer.__module__)
    if _is_wrapped_by(getattr(home, "_use_grad_for_differentiable", None), step):
        optimizer.step = _with_grad_if_differentiable(step.__wrapped__)  # type: ignore[attr-defined, method-assign]


def _is_wrapped_by(decorator: Callable[..., Any] | None, method: Any) -> bool:
    if decorator is None or not hasattr(method, "__wrapped__"):
        return False
    return getattr(method, "__code__", None) is decorator(_nothing).__code__


def _nothing() -> None:
    pass


def _with_grad_if_differentiable(step: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `step` as torch's `_use_grad_for_differentiable` does, without its calls of the compiler."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return wrapper
