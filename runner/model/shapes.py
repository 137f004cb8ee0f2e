"""The shape that comes out of a module, without its work: on the meta device, or for real where that is less work.

The meta device computes shapes without memory, but its arithmetic is written in Python and brings torch's symbolic
mathematics and compiler along: 2 to 3 seconds of a process that may have nothing else to do. A small layer whose
work can be counted beforehand is therefore run once, on zeros.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from runner.model.layers import Add, Concat, From, Multiply, Select

#: The most multiply-adds that are done rather than avoided; some hundredths of a second.
LITTLE = 3e7

#: Layers whose output has no more numbers than their input.
_KEEPS = (
    nn.Flatten,
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.ELU,
    nn.Softmax,
    nn.LogSoftmax,
    nn.Dropout,
    nn.Dropout2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.LayerNorm,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    Concat,
    Add,
    Multiply,
)


def push(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Return the output of `module` for `inputs`, all of it on the meta device: shapes and types without values.

    A module that is run on zeros instead keeps its own parameters.
    """
    if type(module) in (From, Select):
        return module(*inputs)
    if named or sum(_work(module, x) for x in inputs) > LITTLE:
        return module(*inputs, **named)
    values = {name: _zeros(t) for name, t in (*module.named_parameters(), *module.named_buffers())}
    return tree_map(_meta, functional_call(module, values, tree_map(_zeros, inputs), tree_map(_zeros, named)))


def _work(module: nn.Module, x: Any) -> float:
    """Return an upper bound of the multiply-adds of `module`; infinite where none is known."""
    if not isinstance(x, Tensor) or x.dim() < 2 or not x.numel():
        return math.inf
    if type(module) is nn.Linear:
        return x.numel() / x.shape[-1] * (module.in_features + 1) * module.out_features
    if type(module) in (nn.Conv1d, nn.Conv2d):
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        padding = module.kernel_size if isinstance(module.padding, str) else module.padding
        places = math.prod(n + 2 * p for n, p in zip(x.shape[2:], padding, strict=False))
        return float(len(x) * places * sum(p.numel() for p in module.parameters()))
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
        return float(len(x) * math.prod(x.shape[2:]) * sum(p.numel() for p in module.parameters())) * 4
    if type(module) is nn.Upsample and isinstance(module.scale_factor, int | float):
        return 100 * x.numel() * float(module.scale_factor) ** (x.dim() - 2)
    if type(module) in _KEEPS or any(kind.__module__ == "torch.nn.modules.loss" for kind in type(module).__mro__):
        return 100 * x.numel()
    return math.inf


def _zeros(value: Any) -> Any:
    return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value


def _meta(value: Any) -> Any:
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value
