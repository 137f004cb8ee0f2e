"""The equation u' = -u with u(0) = 1 as a loss: a network finds the solution without a single value of it."""

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors


def times(points: int = 40, end: float = 2.0) -> Data:
    """Return times, (points, 1), with the solution exp(-t), which only metrics read; those of validation lie between."""
    step = end / points

    def at(start: float) -> Tensors:
        t = start + step * torch.arange(float(points)).unsqueeze(1)
        return Tensors(t, torch.exp(-t))

    return Data(at(0.0), valid=at(step / 2))


def residual(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the mean square of what is left of the equation at the batch's times, and of the start.

    Raissi, Perdikaris, Karniadakis 2019, https://doi.org/10.1016/j.jcp.2018.10.045
    """
    t = batch[0].detach().requires_grad_()
    u = model(t)
    (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    equation = ((slope + u) ** 2).mean()
    start = ((model(torch.zeros_like(t[:1])) - 1) ** 2).mean()
    return {"loss": equation + start, "equation": equation, "start": start}
