"""The parameters and buffers of many models in a few tensors, of which each model's own are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Stacked:
    """N models of one shape. A change of the stack is a change of the models, and the other way round.

    flat: (N, P), one row of all parameters for each model.
    leaves: name -> (N, *shape), views of `flat` with respect to which gradients can be taken.
    buffers: name -> (N, *shape).
    gradients: name -> (N, *shape), of the last step.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        own = [dict(model.named_parameters()) for model in models]
        self.flat = torch.stack([torch.cat([p.detach().reshape(-1) for p in of.values()]) for of in own])
        self.gradients: dict[str, Tensor] = {}
        self._row = torch.empty(0)
        self.leaves: dict[str, Tensor] = {}
        sizes = [parameter.numel() for parameter in own[0].values()]
        for (name, parameter), row in zip(own[0].items(), torch.split(self.flat, sizes, 1), strict=True):
            part = row.view(len(own), *parameter.shape)
            self.leaves[name] = part.detach().requires_grad_()
            for of, row in zip(own, part.unbind(), strict=True):
                of[name].data = row
        self.buffers = {name: self._stack(models, name) for name, _ in models[0].named_buffers()}

    def take_gradients(self, losses: Tensor) -> None:
        """Of each model's loss, (N,), with respect to its own parameters, into `gradients`."""
        # A model's loss depends on its own parameters only, so the gradient of the sum holds them all.
        found = torch.autograd.grad(losses.sum(), list(self.leaves.values()))
        self.gradients = dict(zip(self.leaves, found, strict=True))

    def flat_gradients(self) -> Tensor:
        """(N, P), a row for each model as in `flat`; overwritten by the next."""
        rows = [part.reshape(len(part), -1) for part in self.gradients.values()]
        self._row = torch.empty_like(self.flat) if not self._row.numel() else self._row
        return torch.cat(rows, 1, out=self._row)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """(N, P) as (N, *shape) of each parameter, in the order of `leaves`."""
        sizes = [leaf[0].numel() for leaf in self.leaves.values()]
        split = torch.split(flat, sizes, 1)
        return [part.view(leaf.shape) for part, leaf in zip(split, self.leaves.values(), strict=True)]

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
