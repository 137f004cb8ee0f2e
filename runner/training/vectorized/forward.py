"""Forward of many models of one shape: batches of shape (N, batch, ...) go through one layer after the other."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from runner.model import graph as graph_module
from runner.model import layers
from runner.model.graph import Graph, reads
from runner.settings import torch_private
from runner.settings.errors import brief
from runner.training.parts.batches import is_own, may_write
from runner.training.parts.dropout import LAYERS as DROPS
from runner.training.parts.dropout import mask_shape
from runner.training.vectorized.draws import RandomStates
from runner.training.vectorized.linear import linear
from runner.training.vectorized.stacked import Stacked, Unstackable

#: (x, True in training mode) -> y; x and y are of shape (N, batch, ...).
Forward = Callable[[Any, bool], Any]


class Several(tuple[Any, ...]):
    """The inputs of a layer that takes more than one."""


#: Layers without parameters that treat every number by itself.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity,
)  # fmt: skip
#: Layers that treat every channel by itself: the channels of all models are as many channels of one.
CHANNELWISE = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip


def forward(stacked: Stacked, models: Sequence[nn.Module], random_states: RandomStates, place: str = "") -> Forward:
    """Return one function that is the forward of all models.

    stacked: the parameters of the whole models.
    models: these, or the same submodule of each.
    random_states: of the models, from which dropout draws.
    place: the submodule's name, with a dot at its end; "" for the whole.
    Raises Unstackable for a layer that cannot be computed for many models at once, some only when it is called.
    """
    kind = type(models[0])
    if kind in (nn.Sequential, layers.Repeat):
        return _chain(stacked, models, random_states, place)
    if kind is Graph:
        return _graph(stacked, models, random_states, place)
    if kind in layers.COMBINING:
        return _combined(models[0])
    if kind is layers.Residual:
        inner, shortcut = (_child(stacked, models, random_states, place, name) for name in ("layers", "shortcut"))
        return lambda x, training: inner(x, training) + shortcut(x, training)
    if kind is layers.Parallel:
        count = len(models[0].branches)  # type: ignore[arg-type]
        branches = [_child(stacked, models, random_states, place, f"branches.{i}") for i in range(count)]
        return _parallel(branches, models[0])
    if kind in ELEMENTWISE:
        layer = _not_in_place(models[0])
        return lambda x, training: layer(x)
    if kind in CHANNELWISE:
        return _channelwise(models[0])
    if kind in DROPS:
        return _dropout(models, random_states)
    if kind is nn.Flatten:
        return _flatten(models[0])
    if kind is nn.Linear:
        return linear(stacked, place)
    if kind is nn.LayerNorm:
        return _layer_norm(stacked, models[0], place)
    if kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) and models[0].padding_mode == "zeros":
        return _convolution(stacked, models[0], place)
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return _batch_norm(stacked, models[0], place)
    return _any(stacked, models[0], place)


def _child(
    stacked: Stacked, models: Sequence[nn.Module], random_states: RandomStates, place: str, name: str
) -> Forward:
    return forward(stacked, [model.get_submodule(name) for model in models], random_states, f"{place}{name}.")


def _chain(stacked: Stacked, models: Sequence[nn.Module], random_states: RandomStates, place: str) -> Forward:
    children = list(models[0].named_children())
    parts: list[Forward] = []
    for i, (name, child) in enumerate(children):
        if type(child) is nn.Linear and i + 1 < len(children) and type(children[i + 1][1]) is nn.ReLU:
            parts.append(linear(stacked, f"{place}{name}.", rectified=True))
        elif not (type(child) is nn.ReLU and i > 0 and type(children[i - 1][1]) is nn.Linear):
            parts.append(_child(stacked, models, random_states, place, name))

    def through(x: Any, training: bool) -> Any:
        for part in parts:
            x = part(x, training)
        return x

    return through


def _graph(stacked: Stacked, models: Sequence[nn.Module], random_states: RandomStates, place: str) -> Forward:
    graph = cast(Graph, models[0])
    if any(isinstance(reads, dict) for reads in reads(graph).values()):
        raise Unstackable("a layer that gets its inputs by the names of arguments is not stacked")
    parts = {name: _child(stacked, models, random_states, place, name) for name in torch_private.children(graph)}

    def through(x: Any, training: bool) -> Any:
        def call(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return parts[name](inputs[0] if len(inputs) == 1 else Several(inputs), training)

        return graph_module.through(graph, x, call)

    return through


def _combined(module: Any) -> Forward:
    """Return what combines outputs of earlier layers."""
    if isinstance(module, layers.Concat):
        dim = module.dim + 1 if module.dim >= 0 else module.dim
        return lambda x, training: torch.cat(_several(x), dim)
    return lambda x, training: module(*_several(x))


def _several(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, Several) else (x,)


def _parallel(branches: list[Forward], module: Any) -> Forward:
    dim = module.dim + 1 if module.dim >= 0 else module.dim

    def parallel(x: Any, training: bool) -> Tensor:
        outputs = [branch(x, training) for branch in branches]
        return torch.cat(outputs, dim) if module.combine == "cat" else torch.stack(outputs).sum(0)

    return parallel


def _not_in_place(module: Any) -> Any:
    """Return a layer that does not write into its input, which may be the batch of other models, too."""
    layer = copy.copy(module)
    if getattr(layer, "inplace", False):
        layer.inplace = False
    return layer


def _channelwise(module: nn.Module) -> Forward:
    return lambda x, training: unfold(module(fold(x)), len(x))


def fold(x: Tensor) -> Tensor:
    """Return x of shape (N, batch, channels, ...) as (batch, N * channels, ...)."""
    return x.transpose(0, 1).flatten(1, 2)


def unfold(x: Tensor, n: int) -> Tensor:
    """Return x of shape (batch, N * channels, ...) as (N, batch, channels, ...); the inverse of `fold`."""
    return x.view(len(x), n, x.shape[1] // n, *x.shape[2:]).transpose(0, 1)


def _dropout(models: Sequence[Any], random_states: RandomStates) -> Forward:
    drop = [float(model.p) for model in models]
    whole = type(models[0]) is nn.Dropout

    def dropout(x: Tensor, training: bool) -> Tensor:
        if not training or not (any(drop) or random_states.streams.layers):  # which count their calls
            return x
        if not whole and x.dim() < 4:
            raise Unstackable(f"{type(models[0]).__name__} of an input without channels is not stacked")
        return x * random_states.dropout_mask(models[0], mask_shape(models[0], x.shape[1:]), drop, x.dtype)

    return dropout


def _flatten(module: Any) -> Forward:
    start, end = (dim + 1 if dim >= 0 else dim for dim in (module.start_dim, module.end_dim))
    return lambda x, training: x.flatten(start, end)


def _layer_norm(stacked: Stacked, module: Any, place: str) -> Forward:
    weight, bias = stacked.leaves.get(f"{place}weight"), stacked.leaves.get(f"{place}bias")

    def layer_norm(x: Tensor, training: bool) -> Tensor:
        y = nn.functional.layer_norm(x, module.normalized_shape, eps=module.eps)
        shape = (len(x), *(1 for _ in range(x.dim() - 1 - len(module.normalized_shape))), *module.normalized_shape)
        if weight is not None:
            y = y * weight.view(shape)
        return y if bias is None else y + bias.view(shape)

    return layer_norm


def _convolution(stacked: Stacked, module: Any, place: str) -> Forward:
    """Return one convolution in groups: the channels of each model are groups of their own."""
    weight, bias = stacked.leaves[f"{place}weight"], stacked.leaves.get(f"{place}bias")
    convolve = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}[weight.dim() - 3]

    def convolution(x: Tensor, training: bool) -> Tensor:
        y = convolve(
            fold(x),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            module.stride,
            module.padding,
            module.dilation,
            module.groups * len(x),
        )
        return unfold(y, len(x))

    return convolution


def _batch_norm(stacked: Stacked, module: Any, place: str) -> Forward:
    """Return one batch norm over the channels of all models, with running statistics of each."""
    weight, bias = (stacked.leaves.get(f"{place}{name}") for name in ("weight", "bias"))
    mean, var, count = (stacked.buffers.get(f"{place}{name}") for name in BUFFERS)

    def batch_norm(x: Tensor, training: bool) -> Tensor:
        if training and count is not None:
            count.add_(1)
        momentum = module.momentum
        if momentum is None:  # the mean of all batches so far, of which every model has had as many
            momentum = 1.0 / float(count[0]) if training and count is not None else 0.0
        y = nn.functional.batch_norm(
            fold(x),
            None if mean is None else mean.view(-1),
            None if var is None else var.view(-1),
            None if weight is None else weight.reshape(-1),
            None if bias is None else bias.reshape(-1),
            training or mean is None,
            momentum,
            module.eps,
        )
        return unfold(y, len(x))

    return batch_norm


BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _any(stacked: Stacked, module: nn.Module, place: str) -> Forward:
    """Return the forward of any other layer by torch's vmap.

    A layer that draws random numbers is refused: all models would draw the same.
    """
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    attends = any(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    if attends and any(leaf.device.type == "cpu" for leaf in stacked.leaves.values()):
        raise Unstackable(
            f"{type(module).__name__}: on a processor torch computes the attention of one model at a time"
        )
    whole = {**stacked.leaves, **stacked.buffers}
    values = {name: whole[place + name] for name in names}

    own, writes = any(map(is_own, module.modules())), may_write([module])

    def one(values: dict[str, Tensor], *inputs: Any) -> Any:
        return functional_call(module, values, inputs)

    def many(x: Any, training: bool) -> Any:
        was_training, before = module.training, _random_position() if own else None
        module.train(training)
        try:
            # The batch may be that of other models, too, or the data themselves.
            y = vmap(one, randomness="error")(values, *(tree_map(_own_copy, v) if writes else v for v in _several(x)))
            if own and before != _random_position():
                raise RuntimeError("it draws random numbers, which all models would share")
            return y
        except Exception as error:
            name = type(module).__name__
            raise Unstackable(f"{name} cannot be computed for many models at once: {brief(error)[:150]}") from error
        finally:
            module.train(was_training)

    return many


def _own_copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _random_position() -> Any:
    """Return the state of Python's and NumPy's generators, of whose use by a user's layer torch does not know."""
    numpy: Any = np.random.get_state(legacy=True)
    return random.getstate(), numpy[1].tobytes(), numpy[2:]
