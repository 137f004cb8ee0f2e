"""A stack in which layers read the outputs of earlier layers by their names."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from runner.settings import torch_private

#: The name of what comes into a stack.
INPUT = "input"
#: References to what a layer takes: in order, or by the names of its arguments; empty: the output before it.
Reads = tuple[str, ...] | dict[str, str]
#: (name of a layer, its module, its inputs in order, and those by name) -> its output.
Call = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any]], Any]


class Graph(nn.Sequential):
    """Layers in their order, each of which takes the output before it, or others that came earlier.

    layers: by their names, which are those of the state_dict, as in nn.Sequential.
    reads: of the layers that take something else than the output before them: a layer's name, or `input`; of a tuple or
        a dict one item, as in `lstm.0` and `input.image`.
    outputs: names of the layers whose outputs are returned, as a dict; empty: the last output alone.
    first: takes the first tensor of a tuple or a dict, or the item of this name, as for a loss that calls the model
        with each tensor by itself.
    An output is let go of after the last layer that reads it.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        reads: Mapping[str, Reads],
        outputs: tuple[str, ...],
        first: bool | str = False,
    ) -> None:
        super().__init__()
        for name, module in layers.items():
            self.add_module(name, module)
        # With `_`, since a layer may have any other name.
        self._reads, self._outputs, self._first = dict(reads), tuple(outputs), first
        self._frees = _last_uses(list(layers), self._reads, self._outputs)

    def forward(self, input: Any) -> Any:
        """Return the last output, or those of `outputs` by their names."""
        return through(self, input, called)


class Alone(Graph):
    """A single layer, which a loss of (model, batch) may call with more than x: `model(noisy, time)`."""

    def forward(self, input: Any, *further: Any, **named: Any) -> Any:
        """Return what the layer gives for x, as it comes from the data, or for all that the loss calls it with."""
        if not further and not named:
            return super().forward(input)
        [layer] = self.children()
        return layer(input, *further, **named)


def reads(model: Graph) -> dict[str, Reads]:
    """Return what the layers read that take something else than the output before them."""
    return model._reads


def called(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return what a module gives for its inputs."""
    return module(*inputs, **named)


def through(model: nn.Module, x: Any, call: Call) -> Any:
    """Push x through the layers of a stack, each by `call`, and return what the stack returns."""
    if not isinstance(model, Graph):
        for name, module in torch_private.children(model).items():
            x = call(name, module, (x,), {})
        return x
    held, previous = {INPUT: first(x, model._first) if model._first else x}, INPUT
    for name, module in torch_private.children(model).items():
        taken = model._reads.get(name) or (previous,)
        named = {key: read(held, one) for key, one in taken.items()} if isinstance(taken, dict) else {}
        inputs = () if isinstance(taken, dict) else tuple(read(held, one) for one in taken)
        held[name] = call(name, module, inputs, named)
        del inputs, named
        for old in model._frees[name]:
            del held[old]
        previous = name
    return {name: held[name] for name in model._outputs} if model._outputs else held[previous]


def read(held: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference means among outputs by their names. Raises KeyError, IndexError or TypeError."""
    if reference in held:
        return held[reference]
    name, _, item = reference.partition(".")
    return take(held[name], item)


def take(value: Any, path: str) -> Any:
    """Return an item of a tuple, a list or a mapping, or an item of that: `0`, `logits`, `0.1`."""
    if not isinstance(value, Mapping | tuple | list):
        raise TypeError(f"a {type(value).__name__} has no items")
    if isinstance(value, Mapping) and path in value:
        return value[path]
    first, _, rest = path.partition(".")
    item = value[first] if isinstance(value, Mapping) else value[int(first)]
    return take(item, rest) if rest else item


def first(nest: Any, name: bool | str = True) -> Tensor:
    """Return the first tensor of a tuple, a list or a mapping, or of what is first in it; a tensor as it is.

    name: of an item of the mapping, in the place of its first.
    """
    while not isinstance(nest, Tensor):
        items = list(nest.values()) if isinstance(nest, Mapping) else nest
        nest = nest[name] if isinstance(nest, Mapping) and name in nest else items[0]
    return nest


def names(reads: Reads) -> Iterator[str]:
    """Yield the references."""
    yield from reads.values() if isinstance(reads, dict) else reads


def _last_uses(layers: list[str], reads: Mapping[str, Reads], outputs: tuple[str, ...]) -> dict[str, list[str]]:
    """Return, for each layer, the names of the outputs that nothing needs after it."""
    previous, last = INPUT, {INPUT: layers[0]} if layers else {}
    for name in layers:
        for reference in names(reads.get(name) or (previous,)):
            last[reference if reference in last else reference.partition(".")[0]] = name
        last[name] = name
        previous = name
    kept = set(outputs) or {previous}
    return {name: [one for one, by in last.items() if by == name and one not in kept] for name in layers}
