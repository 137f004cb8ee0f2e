"""Optimizers without torch._dynamo, which takes a second to load and does nothing where nothing is compiled.

torch 2.13 loads it for the first optimizer, to keep compilers out of an optimizer's methods, and again in every `step`.
Here the methods are called as they are. What looks otherwise than in that torch is left as it is: then it loads.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def spare_dynamo(optimizer: type[Optimizer]) -> None:
    """Let `optimizer` be made and used without torch._dynamo. Call it before making one, if nothing is compiled."""
    for method in list(vars(Optimizer).values()):
        if _is_made_by(getattr(torch, "_disable_dynamo", None), method):
            # The name under which torch itself keeps what it made of the method the first time.
            method.__wrapped__.__dict__.setdefault("__dynamo_disable", method.__wrapped__)
    step, home = optimizer.step, importlib.import_module(Optimizer.__module__)
    if _is_made_by(getattr(home, "_use_grad_for_differentiable", None), step):
        optimizer.step = _with_grad_as_told(step.__wrapped__)  # type: ignore[attr-defined, method-assign]


def _is_made_by(decorator: Callable[..., Any] | None, method: Any) -> bool:
    if decorator is None or not hasattr(method, "__wrapped__"):
        return False
    return getattr(method, "__code__", None) is decorator(_nothing).__code__


def _nothing() -> None:
    pass


def _with_grad_as_told(step: Callable[..., Any]) -> Callable[..., Any]:
    """What torch's decorator does, less its words to the compiler."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return wrapper
