"""The parameters and buffers of many models in a few tensors, of which each model's own are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Stacked:
    """N models of one shape. A change of the stack is a change of the models, and the other way round.

    flat: (N, P), one row of all parameters for each model.
    leaves: name -> (N, *shape), views of `flat` with respect to which gradients can be taken.
    buffers: name -> (N, *shape).
    gradients: (N, P).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        own = [dict(model.named_parameters()) for model in models]
        self.flat = torch.stack([torch.cat([p.detach().reshape(-1) for p in of.values()]) for of in own])
        self.gradients = torch.empty_like(self.flat)
        self.leaves: dict[str, Tensor] = {}
        start = 0
        for name, parameter in own[0].items():
            part = self.flat[:, start : start + parameter.numel()].view(len(own), *parameter.shape)
            start += parameter.numel()
            self.leaves[name] = part.detach().requires_grad_()
            for of, row in zip(own, part.unbind(), strict=True):
                of[name].data = row
        self.buffers = {name: self._stack(models, name) for name, _ in models[0].named_buffers()}

    def take_gradients(self, losses: Tensor) -> None:
        """Of each model's loss, (N,), with respect to its own parameters, into `gradients`."""
        # A model's loss depends on its own parameters only, so the gradient of the sum holds them all.
        found = torch.autograd.grad(losses.sum(), list(self.leaves.values()))
        torch.cat([part.reshape(len(losses), -1) for part in found], 1, out=self.gradients)

    @staticmethod
    def _stack(models: Sequence[nn.Module], name: str) -> Tensor:
        place, _, last = name.rpartition(".")
        owners = [model.get_submodule(place) for model in models]
        stack = torch.stack([getattr(owner, last) for owner in owners])
        for owner, row in zip(owners, stack.unbind(), strict=True):
            owner._buffers[last] = row
        return stack


def release(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give a model that leaves the stack tensors of its own, its optimizer's included."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
        state = optimizer.state.get(parameter, {})
        state.update({k: v.clone() for k, v in state.items() if isinstance(v, Tensor)})
    for owner in model.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            owner._buffers[name] = buffer.clone()
