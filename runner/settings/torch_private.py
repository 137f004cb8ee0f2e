"""Private names of torch, each behind a function: a release may move them without notice.

tests/settings/test_torch_private.py names the release in which one of them is gone. Nothing here falls back in silence.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.profiler import ProfilerActivity, profile

#: Schedules with a formula for the rate after any step, which torch computes from step to step otherwise.
CLOSED_FORMS = (
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ConstantLR,
    lr_scheduler.LinearLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.PolynomialLR,
    lr_scheduler.CosineAnnealingLR,
)

#: Methods by which torch's layers compute: a subclass that has one of its own computes something else.
COMPUTING = ("forward", "_conv_forward", "_output_padding", "__call__")


def writes(tensor: Tensor) -> int:
    """Return how often the memory of `tensor` has been written into in place, by which autograd finds stale values."""
    return tensor._version


def children(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules directly inside of `module` by their names, one that stands in two places twice."""
    return {name: child for name, child in module._modules.items() if child is not None}


def set_updates(metric: Any, count: int) -> None:
    """Let a metric of torchmetrics, whose sums have been replaced, have been updated `count` times."""
    for name in ("_update_count", "_computed"):
        assert hasattr(metric, name), f"torchmetrics has no Metric.{name}"
    metric._update_count, metric._computed = count, None


def padding_value(transform: Any, kind: type) -> Any:
    """Return what a transform of torchvision pads tensors of this type with."""
    from torchvision.transforms.v2 import _utils

    return _utils._get_fill(transform._fill, kind)


def end_workers(batches: Any) -> None:
    """End the worker processes of an iterator of a DataLoader, which end otherwise when nobody holds it any more."""
    batches._shutdown_workers()


def has_step_pre_hooks(optimizer: Optimizer) -> bool:
    """Return whether something is done to the gradients before each step of `optimizer`, such as clipping."""
    return bool(optimizer._optimizer_step_pre_hooks)


def step_hooks(optimizer: Optimizer) -> list[Any]:
    """Return the functions that are called before and after each step of `optimizer`."""
    return [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]


def layer_hooks(module: torch.nn.Module) -> list[Any]:
    """Return the functions that are called before and after the forward and backward passes of `module`."""
    names = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return [hook for name in names for hook in getattr(module, name).values()]


def gradient_hooks(tensor: Tensor) -> dict[int, Any]:
    """Return the functions that are called with gradients of `tensor`, by their numbers."""
    return {**(tensor._backward_hooks or {}), **(getattr(tensor, "_post_accumulate_grad_hooks", None) or {})}


def storage(tensor: Tensor) -> int:
    """Return a number that is that of all tensors in the same memory, and of no other memory while this one is held."""
    return int(tensor.untyped_storage()._cdata)  # of the object; empty tensors have no address


def below_autograd() -> Any:
    """Return a context manager in which operations go past autograd, which has nothing to note of them."""
    return torch._C._AutoDispatchBelowAutograd()


#: Operations whose functions in `torch` take the arguments of torch.ops, in half of the time.
FUNCTIONS = {
    *("_log_softmax", "_log_softmax_backward_data", "_softmax"),
    *("add", "addmm", "baddbmm", "bmm", "div", "mean", "mm", "mul", "sigmoid", "sub", "sum", "tanh"),
}
METHODS = {"add_", "addcdiv_", "addcmul_", "bernoulli_", "copy_", "div_", "fill_", "lerp_", "mul_", "sub_", "zero_"}


def operation(overload: Any) -> Callable[..., Any]:
    """Return the function of an overload of torch.ops without most of Python's part of a call."""
    name = overload.overloadpacket.__name__
    if name in METHODS:
        return getattr(Tensor, name)  # type: ignore[no-any-return]
    if name in FUNCTIONS and [a.name for a in arguments(overload) if a.is_out] in ([], ["out"]):
        return getattr(torch, name)  # type: ignore[no-any-return]
    return overload._op  # type: ignore[no-any-return]


@functools.cache
def arguments(overload: Any) -> list[Any]:
    """Return the arguments of an overload of torch.ops: `name`, `type`, `is_out`, and `alias_info.is_write` or None."""
    return list(overload._schema.arguments)


def has_kernel(overload: Any, key: str) -> bool:
    """Return whether an overload has code of its own for dispatch key `key`, such as CPU."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), key)


def negated(tensor: Tensor) -> Tensor:
    """Return a view of `tensor` whose numbers are negated when they are read."""
    return torch._neg_view(tensor)


def foreach(name: str) -> Callable[..., Any]:
    """Return the operation `name` over lists of tensors, such as add or add_, which writes into the first list."""
    return getattr(torch, f"_foreach_{name}")  # type: ignore[no-any-return]


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


def rates_of_step(scheduler: Any) -> list[float] | None:
    """Return the learning rates of a schedule that follow from its step alone; None for any other schedule.

    Others compute each rate from the one before: a cosine that has come to 0 would stay there, however long it is now.
    """
    if isinstance(scheduler, CLOSED_FORMS) or hasattr(scheduler, "_get_closed_form_lr"):  # the latter may be a user's
        return [float(rate) for rate in scheduler._get_closed_form_lr()]
    if isinstance(scheduler, lr_scheduler.LambdaLR | lr_scheduler.OneCycleLR):
        scheduler._get_lr_called_within_step = True  # or torch warns
        return [float(rate) for rate in scheduler.get_lr()]
    return None


def without_numbers() -> AbstractContextManager[Any]:
    """Return a context in which tensors have a device, a shape and a type, and neither numbers nor memory."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes a second to import

    return FakeTensorMode(allow_non_fake_inputs=True)


def allocated(work: Callable[[], object]) -> int:
    """Do `work` and return the most bytes of the processor's memory that were alive at once of what it allocated.

    Frees of what was there before are not counted.
    """
    with _silenced(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@contextmanager
def _silenced() -> Iterator[None]:
    """Drop what is written to the process's output in the block: the profiler's own lines, which no setting stops."""
    sys.stdout.flush()
    sys.stderr.flush()
    with Path(os.devnull).open("w") as null, ExitStack() as stack:
        for number in (1, 2):
            saved = os.dup(number)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, number)
            os.dup2(null.fileno(), number)
        yield
