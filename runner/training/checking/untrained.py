"""Outputs of a model without a loss, and the layers that only these need, which are not trained: said, not refused."""

from torch import nn

from runner.model.graph import names
from runner.model.stack import Layer, Stack
from runner.training.parts.components import Components
from runner.training.parts.losses_of_outputs import OfOutputs
from runner.training.parts.named import ByOutput


def layers(parts: Components, loss: nn.Module, plan: Stack) -> dict[str, list[str]]:
    """Return for each of `model.outputs` without a loss its layers with parameters that no output with a loss needs.

    Outputs without such layers are left out; none are returned where a step or a loss of the user's own may read all.
    """
    if parts.step is not None or not isinstance(loss, ByOutput | OfOutputs):
        return {}
    trained = set(loss.names if isinstance(loss, ByOutput) else loss.TAKES)
    needed, found = _needed(plan, [name for name in plan.outputs if name in trained]), dict[str, list[str]]()
    for output in plan.outputs:
        own = _needed(plan, [output]).keys() - needed.keys()
        if alone := [layer.name for layer in plan.layers if layer.name in own and layer.parameters]:
            found[output] = alone
    return found


def lines(parts: Components, loss: nn.Module, plan: Stack) -> list[str]:
    """Return a line for people for each output of `layers`."""
    return [
        f"model.outputs.{output}: no loss, so that layers of its own are not trained: {', '.join(own)}"
        for output, own in layers(parts, loss, plan).items()
    ]


def _needed(plan: Stack, outputs: list[str]) -> dict[str, Layer]:
    """Return the layers that the outputs are computed by, and those whose parameters these share."""
    before = dict(zip([one.name for one in plan.layers[1:]], [one.name for one in plan.layers], strict=False))
    by_name, found, open_ = {one.name: one for one in plan.layers}, dict[str, Layer](), list(outputs)
    while open_:
        reference = open_.pop()
        name = reference if reference in by_name else reference.partition(".")[0]
        if name in found or name not in by_name:
            continue
        found[name] = layer = by_name[name]
        open_ += names(layer.reads) if layer.reads else [before[name]] if name in before else []
        open_ += [layer.shares] if layer.shares else []
        open_ += [path for one in (layer, *layer.inner()) for path in one.ties.values()]
    return found
