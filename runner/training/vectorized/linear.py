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
    """Return the forward of a Linear layer of N models: x of shape (N, ..., in) gives (N, ..., out).

    place: the layer's name in the model, with a dot at its end. rectified: ReLU follows and is included.
    """
    weight, bias = stacked.leaves[f"{place}weight"], stacked.leaves.get(f"{place}bias")
    layer = _Layer(rectified, stacked.gradients[f"{place}weight"], stacked.gradients.get(f"{place}bias"))

    def forward(x: Tensor, training: bool) -> Tensor:
        rows = x if x.dim() == 3 else x.flatten(1, -2)
        y: Tensor = _Linear.apply(rows, weight, bias, layer)  # type: ignore[no-untyped-call]
        return y if x.dim() == 3 else y.reshape(*x.shape[:-1], -1)

    return forward


@dataclass(frozen=True)
class _Layer:
    """Where the gradients of one layer are written."""

    rectified: bool  # ReLU follows
    of_weight: Tensor
    of_bias: Tensor | None


class _Linear(torch.autograd.Function):
    """The product of x (N, batch, in) and weight (N, out, in), plus bias (N, out): (N, batch, out).

    Torch's own backward leaves the gradient of the weight transposed, which costs a copy of it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: _Layer) -> Tensor:
        if weight.shape[1] < FEW:
            y = _product(None if bias is None else bias.unsqueeze(2), weight, x.mT).mT
        else:
            y = _product(None if bias is None else bias.unsqueeze(1), x, weight.mT)
        if layer.rectified:
            y.clamp_min_(0)
        ctx.save_for_backward(x, weight, y if layer.rectified else None)
        ctx.layer = layer
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        (x, weight, rectified), layer, [grad] = ctx.saved_tensors, ctx.layer, gradients
        if rectified is not None:
            grad = torch.ops.aten.threshold_backward(grad, rectified, 0)
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        torch.bmm(grad.mT, x, out=layer.of_weight)
        if layer.of_bias is not None:
            torch.sum(grad, 1, out=layer.of_bias)
        return before, layer.of_weight, layer.of_bias, None


def _product(plus: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
