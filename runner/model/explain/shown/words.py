"""Words about a worked layer, the same on a terminal, in Markdown and in a picture."""

import inspect
import math

from torch import nn

from runner.model.explain import places, rules
from runner.model.explain.arithmetic import number
from runner.model.explain.parts import TOLERANCE, Element, Explained


def kind(explained: Explained) -> str:
    """Return `Conv2d(1, 1, kernel_size=(2, 2), stride=(1, 1))`; of a layer with layers inside, its class alone."""
    layer = explained.layer
    if rules.family(layer) is not None:
        return f"{type(layer).__name__}({layer.extra_repr()})"
    if any(layer.children()):
        return type(layer).__name__
    return repr(layer).replace("\n", " ") if layer.extra_repr() else f"{type(layer).__name__}({_arguments(layer)})"


def _arguments(layer: nn.Module) -> str:
    """Return the arguments of a layer that says none itself, as far as it has kept them: `dims=[0, 2, 1]`."""
    names = [name for name in inspect.signature(type(layer)).parameters if name in vars(layer)]
    return ", ".join(f"{name}={getattr(layer, name)}" for name in names)


def parameters(explained: Explained) -> str:
    """Return `80 parameters: weight 8*1*3*3 + bias 8`; those of layers inside are summed up, `+ 72 inside`."""
    count = explained.parameters
    whole = rules.family(explained.layer) is not None  # what is inside of it is not explained by itself
    named = dict(explained.layer.named_parameters(recurse=whole))
    own = [f"{name} {'*'.join(map(str, p.shape)) or 1}" for name, p in named.items()]
    if own and (inside := count - sum(p.numel() for p in named.values())):
        own.append(f"{inside:,} inside")
    words = f"{count:,} parameter{'' if count == 1 else 's'}" if count else "no parameters"
    return f"{words}: {' + '.join(own)}" if own else words


def shapes(explained: Explained) -> str:
    """Return `(1, 1, 4, 4) -> (1, 1, 3, 3)`; of several tensors each, `(1, 4), (1, 4) -> (1, 8)`."""
    return f"{explained.taken or _shape(explained.input)} -> {explained.given or _shape(explained.output)}"


def has_drawing(explained: Explained) -> bool:
    """Return whether a layer is drawn. Of a plain stack, the layers are."""
    both = explained.input is not None and explained.output is not None
    return both and not isinstance(explained.layer, nn.Sequential)


def source(explained: Explained, element: Element) -> str:
    """Return `output[0, 0, 0] is made of channels 0-1, positions 0-2 of the input`."""
    window = places.window(element.window, explained.axes)
    return f"{places.element(element.index)} is made of {window} of the input"


def compared(value: float, torch: float, scale: float, by: str = "torch") -> str:
    """Return `torch: 27.8, 7.9e-7 apart: agrees within 1e-5`; a disagreement would have been an error.

    scale: the largest number in the arithmetic, by which a difference beyond 1e-5 was measured.
    """
    apart = 0.0 if value == torch or math.isnan(value) else abs(value - torch)
    measure = f" of the largest number in it, {number(max(abs(value), scale))}" if apart > TOLERANCE else ""
    return f"{by}: {torch:.7g}, {number(apart, 2)} apart: agrees within {number(TOLERANCE)}{measure}"


def _shape(tensor: object) -> str:
    return str(getattr(tensor, "shape", "no tensor"))
