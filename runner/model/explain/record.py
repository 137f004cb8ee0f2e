"""The inputs and outputs of every layer, in the order of the calls."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import graph
from runner.model.explain import rules
from runner.model.modes import evaluating
from runner.model.stack import worded
from runner.settings import torch_private


@dataclass
class Call:
    """One call of one layer."""

    name: str
    layer: nn.Module
    depth: int
    input: Any
    output: Any = None
    taken: str = ""  # the shapes of all its inputs in words
    given: str = ""  # and of all that it returns


def record(model: nn.Module | Iterable[tuple[str, nn.Module]], x: Any) -> list[Call]:
    """Push x through the layers, in evaluation mode and without gradients, and return the calls.

    model: a stack, or names and modules, one after the other. x: a batch, on their device.
    The layers inside of a layer that has no worked rule of its own follow it, one deeper.
    """
    if not isinstance(model, nn.Module):
        model = nn.Sequential(OrderedDict(model))
    layers = list(torch_private.children(model).items())
    calls: list[Call] = []
    with ExitStack() as stack, torch.no_grad():
        for _, layer in layers:
            stack.enter_context(evaluating(layer))
        opened: list[Call] = []
        for name, layer in (inner for named in layers for inner in _walk(*named)):
            for handle in _watch(name, layer, calls, opened):
                stack.callback(handle.remove)
        graph.through(model, x, graph.called)
    return calls


def _walk(name: str, layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield name, layer
    if rules.family(layer) is None:
        for child, inner in layer.named_children():
            yield from _walk(f"{name}.{child}", inner)


def _watch(name: str, layer: nn.Module, calls: list[Call], opened: list[Call]) -> list[Any]:
    """Register two hooks: `calls` collects the calls in the order they began, `opened` those that have not ended."""

    def begin(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = [*inputs, *named.values()]
        call = Call(name, layer, len(opened), _copied(given[0]) if given else None, taken=_shapes(given))
        calls.append(call)
        opened.append(call)

    def end(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        call = opened.pop()
        call.output, call.given = _copied(output), _shapes([output] if isinstance(output, Tensor | Mapping) else output)

    return [layer.register_forward_pre_hook(begin, with_kwargs=True), layer.register_forward_hook(end)]


def _shapes(values: Any) -> str:
    """Return words for the shapes of tensors, of nests too: `(1, 4), (1, 4)`; "" for none."""
    some = [value for value in values if isinstance(value, Tensor | tuple | list | Mapping)]
    return worded(some[0] if len(some) == 1 else some, lambda one: str(tuple(one.shape)))


def _copied(value: Any) -> Any:
    """Return a copy, as a later layer may work in place; of a tuple (an LSTM's) the first part."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value.detach().clone() if isinstance(value, Tensor) else value
