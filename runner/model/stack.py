"""A model as it was planned: its layers, everything looked up, bound and inferred, and the shapes between them."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from runner.model.graph import Alone, Graph, Reads
from runner.model.init import Start
from runner.settings.errors import ConfigError, batch_shape, brief


@dataclass
class Layer:
    """The plan of one layer: everything looked up, bound and inferred."""

    name: str  # the module's name in the state_dict
    key: str  # of the configuration
    target: Any  # a class, or a user's function that returns a module
    arguments: dict[str, Any]  # a nested stack is a Stack, several are a list of Stacks
    given: dict[str, Any] = field(default_factory=dict)  # parameter name -> its values
    input: tuple[int, ...] = ()  # its shape, the batch left out
    shape: tuple[int, ...] = ()  # of the output, likewise
    parameters: int = 0  # those that are tied to another layer's left out
    reads: Reads = ()  # what it takes, if it is not the output before it
    ties: dict[str, str] = field(default_factory=dict)  # parameter name -> that of an earlier layer, which it is
    shares: str = ""  # the name of the earlier layer of its stack that it is, called once more
    output: Any = field(default=None, repr=False, compare=False)  # on the meta device
    taken: Any = field(default=None, repr=False, compare=False)  # its inputs there: those in order, and those by name
    #: The module on the meta device that gave the shapes: to be inspected, never trained or changed.
    planned: nn.Module = field(init=False, repr=False, compare=False)

    def make(self) -> nn.Module:
        """Return a new module with freshly drawn (or given) parameters, on torch's current default device."""
        module = self.construct(lambda stacks: [stack.make() for stack in stacks])
        for name, values in self.given.items():
            _fill(module, name, values, self.key)
        return module

    def construct(self, modules: Callable[[list["Stack"]], list[nn.Sequential]]) -> nn.Module:
        """Call the class with its arguments. modules: makes those of the stacks among them."""
        arguments = dict[str, Any]()
        for name, value in self.arguments.items():
            several = isinstance(value, list) and is_stacks(value)
            if several or isinstance(value, Stack):
                made = modules(value if several else [value])
                arguments[name] = made if several else made[0]
            else:
                arguments[name] = tuple(value) if isinstance(value, list) else value
        module: nn.Module = arguments["args"] if self.target is nn.Sequential else self.target(**arguments)
        return module

    def inner(self) -> Iterator["Layer"]:
        """Yield the layers inside of this one, depth first."""
        for stack in stacks(self):
            for layer in stack.layers:
                yield layer
                yield from layer.inner()


@dataclass
class Stack:
    """The plan of layers one after the other, and the shape that comes out."""

    layers: list[Layer]
    output: Any  # on the meta device: a shape and a type without values; or a tuple or a dict of such
    outputs: tuple[str, ...] = ()  # names of the layers whose outputs are returned as a dict; empty: the last one's
    start: list[Start] = field(default_factory=list)  # how first weights are drawn where it is not as torch does
    first: bool | str = False  # it takes the first tensor of a tuple or a dict, or that of a name; see `graph.Graph`
    alone: bool = False  # its loss calls it, perhaps with more than x; see `graph.Alone`

    def make(self) -> nn.Sequential:
        """Return the model. Its parameters are drawn from torch's global generator, layer by layer.

        Those that `start` is of are drawn a second time after that, in the order of the parameters.
        """
        model = self._assembled(self._modules(Layer.make))
        for layer in self.layers:
            for name, path in layer.ties.items():
                setattr(model.get_submodule(layer.name), name, model.get_parameter(path))
        for start in self.start:
            start.draw(model)
        return model

    def planned(self) -> nn.Sequential:
        """Return the layers as they were planned: on the meta device, without numbers, the same at every call."""
        return self._assembled(self._modules(lambda layer: layer.planned))

    def _modules(self, of: Callable[[Layer], nn.Module]) -> dict[str, nn.Module]:
        """Return the module of each layer by its name; of one that is another, the same."""
        modules = dict[str, nn.Module]()
        for layer in self.layers:
            modules[layer.name] = modules[layer.shares] if layer.shares else of(layer)
        return modules

    def _assembled(self, modules: dict[str, nn.Module]) -> nn.Sequential:
        reads = {layer.name: layer.reads for layer in self.layers if layer.reads}
        if reads or self.outputs or self.first or self.alone:
            return (Alone if self.alone else Graph)(modules, reads, self.outputs, self.first)
        return nn.Sequential(OrderedDict(modules))


def shapes(layer: Layer) -> str:
    """Return words for what a layer gives: `(N, 8, 4)`; of several tensors each, `digit (N, 10), parity (N, 2)`.

    States of a recurrent layer have the batch in their second dimension.
    """
    if layer.output is None:
        return batch_shape(layer.shape)
    if inspect.isclass(layer.target) and issubclass(layer.target, nn.RNNBase) and isinstance(layer.output, tuple):
        values, states = layer.output
        states = worded([states], lambda one: f"({one.shape[0]}, N, {one.shape[2]})")
        return f"{batch_shape(values.shape[1:])}, {states}"
    return worded(layer.output, lambda one: batch_shape(one.shape[1:]))


def worded(nest: Any, shape: Callable[[Tensor], str]) -> str:
    """Return words for the tensors in a tuple, a list or a mapping. shape: the words for one of them."""
    if isinstance(nest, Tensor):
        return shape(nest)
    if isinstance(nest, Mapping):
        return ", ".join(f"{name} {worded(one, shape)}" for name, one in nest.items())
    if isinstance(nest, tuple | list):
        each = [worded(one, shape) for one in nest]
        return ", ".join(
            f"({words})" if isinstance(one, tuple | list) else words for one, words in zip(nest, each, strict=True)
        )
    return type(nest).__name__


def size(layer: Layer) -> int:
    """Return the number of layers in a layer, itself included."""
    return 1 + sum(size(inner) for stack in stacks(layer) for inner in stack.layers)


def stacks(layer: Layer) -> list[Stack]:
    """Return the stacks directly inside of a layer."""
    values = [v for value in layer.arguments.values() for v in (value if isinstance(value, list) else [value])]
    return [v for v in values if isinstance(v, Stack)]


def classes(stack: Stack) -> list[type]:
    """Return every module class of the model, by name: those of the configuration, and those they are made of."""
    return sorted({type(module) for module in stack.planned().modules()}, key=lambda c: c.__qualname__)


def is_stacks(value: list[Any]) -> bool:
    """Return whether a list, an argument of a layer, holds stacks and nothing else."""
    return bool(value) and all(isinstance(v, Stack) for v in value)


def values_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module by name, those of modules inside of it left out."""
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _fill(module: nn.Module, name: str, values: Any, key: str) -> None:
    place = values_of(module)[name]
    if place.device.type != "meta":
        with torch.no_grad():
            place.copy_(shaped(place, name, values, key))


def shaped(place: Tensor, name: str, values: Any, key: str) -> Tensor:
    """Return given values in a parameter's shape; dimensions of size 1 may be left out, one number fills all."""
    try:
        with torch.device("cpu"):
            tensor = torch.tensor(values, dtype=torch.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}.{name}", f"not a grid of numbers: {brief(error)}") from error
    if tensor.dim() and [n for n in tensor.shape if n != 1] != [n for n in place.shape if n != 1]:
        raise ConfigError(
            f"{key}.{name}", f"the values have shape {tuple(tensor.shape)}, expected {tuple(place.shape)}"
        )
    return tensor.reshape(place.shape) if tensor.dim() else tensor.expand(place.shape)
