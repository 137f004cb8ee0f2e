"""Linear layers of many models, with the ReLU that may follow them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.training.vectorized.stacked import Stacked

#: Outputs below which their product is faster the other way round: (out, in) @ (in, batch).
FEW = 16


def linear(stacked: Stacked, place: str, rectified: bool = False) -> Callable[[Any, bool], Any]:
    """x (N, ..., in) -> (N, ..., out). place: the layer's name, with a dot. rectified: ReLU included."""
    weight, bias = stacked.leaves[f"{place}weight"], stacked.leaves.get(f"{place}bias")
    layer = _Layer(rectified, stacked.gradients[f"{place}weight"], stacked.gradients.get(f"{place}bias"))

    def forward(x: Tensor, training: bool) -> Tensor:
        rows = x if x.dim() == 3 else x.flatten(1, -2)
        found: Tensor = _Linear.apply(rows, weight, bias, layer)  # type: ignore[no-untyped-call]
        return found if x.dim() == 3 else found.reshape(*x.shape[:-1], -1)

    return forward


@dataclass(frozen=True)
class _Layer:
    """Whether ReLU follows, and where the gradients go."""

    rectified: bool
    of_weight: Tensor
    of_bias: Tensor | None


class _Linear(torch.autograd.Function):
    """x (N, batch, in), weight (N, out, in), bias (N, out) -> (N, batch, out).

    Torch's own way back leaves the gradient of the weight transposed, which costs a copy of it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: _Layer) -> Tensor:
        if weight.shape[1] < FEW:
            found = _product(None if bias is None else bias.unsqueeze(2), weight, x.mT).mT
        else:
            found = _product(None if bias is None else bias.unsqueeze(1), x, weight.mT)
        if layer.rectified:
            found.clamp_min_(0)
        ctx.save_for_backward(x, weight, found if layer.rectified else None)
        ctx.layer = layer
        return found

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        (x, weight, found), layer, [grad] = ctx.saved_tensors, ctx.layer, given
        if found is not None:
            grad = torch.ops.aten.threshold_backward(grad, found, 0)
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        torch.bmm(grad.mT, x, out=layer.of_weight)
        if layer.of_bias is not None:
            torch.sum(grad, 1, out=layer.of_bias)
        return before, layer.of_weight, layer.of_bias, None


def _product(plus: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
