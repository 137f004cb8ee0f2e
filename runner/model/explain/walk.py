"""A stack of layers, worked for one input."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from runner.model import graph
from runner.model.explain import rules
from runner.model.explain.choice import FIRST, Choice
from runner.model.explain.parts import (
    Array,
    Disagreement,
    Element,
    Explained,
    Family,
    Index,
    Padded,
    Predicted,
    array,
    bare,
)
from runner.model.explain.record import Call, record
from runner.model.graph import Reads


def explain(layers: nn.Module | Iterable[tuple[str, nn.Module]], x: Any, choice: Choice = FIRST) -> list[Explained]:
    """Work every layer of a stack, in evaluation mode: shapes, their formula, and output elements by hand.

    layers: a model, or names and layers as `model.named_children()` gives them, on one device. Layers inside of a
        layer without a rule of its own (a nested Sequential, say) come after it, one deeper.
    x: one example, the batch dimension kept, on the same device.
    choice: of layers and elements.
    Raises Disagreement when a shape or an element is not what torch gives, NoSuchLayer and NoSuchElement for a
    choice that cannot be.
    """
    calls = record(layers, x)
    reads = dict(getattr(layers, "reads", {}))
    choice.check(call.name for call in calls)
    return [_explained(call, choice, reads.get(call.name, ())) for call in calls if choice.takes(call.name)]


def work(layer: nn.Module, x: Array, output: Array, indices: Iterable[Index], name: str = "") -> list[Element]:
    """Work the output elements at `indices`, each compared with `output`. Raises Disagreement where one differs."""
    family = rules.family(layer)
    assert family is not None, f"no worked rule for {type(layer).__name__}"
    return _worked(family, name, layer, family.pad(layer, x), output, indices)


def predict(layer: nn.Module, size: Index) -> Predicted | None:
    """Return the output shape by formula; None for a layer without a rule."""
    family = rules.family(layer)
    return family.shape(layer, size) if family is not None and rules.takes(layer, len(size)) else None


def _explained(call: Call, choice: Choice, reads: Reads) -> Explained:
    x = array(call.input) if isinstance(call.input, Tensor) else None
    output = array(call.output) if isinstance(call.output, Tensor) else None
    family = rules.family(call.layer)
    if family is None or x is None or output is None or not rules.takes(call.layer, x.ndim):
        shown = None if x is None else bare(call.layer, x)
        note = _why(call, family) + (f"; it reads {' and '.join(graph.names(reads))}" if reads else "")
        taken = call.taken if shown is None or call.taken != str(shown.shape) else ""
        given = call.given if output is None or call.given != str(output.shape) else ""
        return Explained(call.name, call.layer, call.depth, shown, output, note=note, taken=taken, given=given)
    padded, predicted = family.pad(call.layer, x), family.shape(call.layer, x.shape)
    _check_shape(call, predicted, output.shape)
    worked = _worked(family, call.name, call.layer, padded, output, choice.elements(output.shape))
    axes = family.AXES.get(x.ndim, ())
    return Explained(call.name, call.layer, call.depth, padded, output, axes, predicted, worked)


def _worked(
    family: Family, name: str, layer: nn.Module, x: Padded, output: Array, indices: Iterable[Index]
) -> list[Element]:
    return [family.element(layer, x, i).checked(name, layer, float(output[i])) for i in indices]


def _check_shape(call: Call, predicted: Predicted, shape: Index) -> None:
    if predicted.shape != shape:
        place = f"layer {call.name!r} ({type(call.layer).__name__})"
        raise Disagreement(f"{place}: the formula predicts {predicted.shape}, torch gives {shape}")


def _why(call: Call, family: Family | None) -> str:
    name = type(call.layer).__name__
    if family is not None:
        return f"{name} is not worked for an input of this shape: shapes and values only"
    if isinstance(call.layer, nn.Sequential):
        return "a stack; its layers follow"
    following = "; the layers inside follow" if any(call.layer.children()) else ""
    own = rules.near(call.layer)
    because = f"; it computes something of its own, not what {own} does" if own else ""
    return f"{name} has no worked rule{because}: shapes and values only{following}"
