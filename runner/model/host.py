"""The one place where a run's tensors leave their device.

All other code computes with them where they are, or gets them from here. The data that a source reads and the subject
of a plot are on the host already.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def tensor(value: Tensor) -> Tensor:
    """Return `value` on the host, without its graph; where it is there already, the same memory."""
    return value.detach().cpu()


def copied(value: Tensor) -> Tensor:
    """Return `value` on the host, without its graph, in memory of its own."""
    return value.detach().to("cpu", copy=True)


def array(value: Tensor) -> NDArray[Any]:
    """Return the numbers of `value` for NumPy, of its shape and type; bfloat16, which NumPy lacks, as float32."""
    on_host = tensor(value)
    return np.asarray((on_host.float() if on_host.dtype == torch.bfloat16 else on_host).numpy())


def content(value: Tensor) -> memoryview:
    """Return the bytes of `value`, the last dimension fastest; no copy where it is on the host in this order."""
    flat = tensor(value).contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if len(flat) else memoryview(b"")


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of one shape and type have the same bits, signs of 0 and kinds of NaN among them."""
    first, second = (tensor(value).contiguous().reshape(-1).view(torch.uint8) for value in (one, other))
    return torch.equal(first, second)


def number(value: Tensor) -> float:
    """Return the number of a tensor without dimensions. Waits for its device."""
    return value.item()


def numbers(value: Tensor) -> list[Any]:
    """Return all numbers of `value`, the last dimension fastest, in one reading. Waits for its device."""
    return value.flatten().tolist()


def module(model: nn.Module) -> nn.Module:
    """Return a copy of `model` on the host. On the device it takes no memory."""
    memo: dict[int, Any] = {id(p): nn.Parameter(copied(p), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo | {id(b): copied(b) for b in model.buffers()})


def metric(value: nn.Module) -> nn.Module:
    """Return a copy of a metric on the host, with its counts."""
    return copy.deepcopy(value).cpu()
