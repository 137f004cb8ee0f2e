"""Private names of torch, each behind a function: a release may move them without notice.

tests/test_torch_private.py names the release in which one of them is gone. Nothing here falls back in silence.
"""

import torch
from torch import Tensor

#: Methods by which torch's layers compute: a subclass that has one of its own computes something else.
COMPUTING = ("forward", "_conv_forward", "_output_padding", "__call__")


def writes(tensor: Tensor) -> int:
    """Return how often the memory of `tensor` has been written into in place, by which autograd finds stale values."""
    return tensor._version


def has_step_pre_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether something is done to the gradients before each step of `optimizer`, such as clipping."""
    return bool(optimizer._optimizer_step_pre_hooks)
