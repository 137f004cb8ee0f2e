"""The one place where a run's tensors leave their device.

Everything else either computes with them where they are, or is given them from here. What a data source reads and
what a plot is shown are on the host.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def tensor(value: Tensor) -> Tensor:
    """`value` on the host, without its graph; where it is there already, the same memory."""
    return value.detach().cpu()


def copied(value: Tensor) -> Tensor:
    """`value` on the host, without its graph, in memory of its own."""
    return value.detach().to("cpu", copy=True)


def array(value: Tensor) -> NDArray[Any]:
    """The numbers of `value` for NumPy; bfloat16, which it does not have, as float32."""
    found = tensor(value)
    return np.asarray((found.float() if found.dtype == torch.bfloat16 else found).numpy())


def content(value: Tensor) -> memoryview:
    """The bytes of `value`, the last dimension fastest; no copy of what is on the host in this order."""
    flat = tensor(value).contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if len(flat) else memoryview(b"")


def number(value: Tensor) -> float:
    """The number of a tensor without dimensions. Waits for its device."""
    return value.item()


def numbers(value: Tensor) -> list[Any]:
    """All numbers of `value`, the last dimension fastest, in one reading. Waits for its device."""
    return value.flatten().tolist()


def module(model: nn.Module) -> nn.Module:
    """A copy of `model` on the host. On the device it takes no memory."""
    memo: dict[int, Any] = {id(p): nn.Parameter(copied(p), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo | {id(b): copied(b) for b in model.buffers()})


def metric(value: nn.Module) -> nn.Module:
    """A copy of a metric on the host, with its counts."""
    return copy.deepcopy(value).cpu()
