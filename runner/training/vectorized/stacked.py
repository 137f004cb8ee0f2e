"""The parameters and buffers of many models in a few tensors, of which each model's own are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Unstackable(Exception):
    """Models cannot be trained as one program; the message is a reason that stands after a colon."""


class Stacked:
    """Parameters and buffers of N models of one shape; the models' own tensors are views of these.

    flat: (N * P,), one parameter after the other, each of them model after model.
    leaves: name -> (N, *shape), views of `flat` with respect to which gradients can be taken.
    gradient: as `flat`, of the last step. Layers may write their share of it themselves.
    gradients: name -> (N, *shape), views of `gradient`.
    buffers: name -> (N, *shape).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._own = [list(model.parameters()) for model in models]
        first = dict(models[0].named_parameters())
        shapes = [(len(models), *parameter.shape) for parameter in first.values()]
        self.count = len(models)
        self.sizes = [parameter.numel() for parameter in first.values()]
        self.flat = torch.cat([p.detach().reshape(-1) for of in zip(*self._own, strict=True) for p in of])
        self.gradient = torch.zeros_like(self.flat)
        self.leaves, self.gradients = (
            {name: part.view(shape) for name, part, shape in zip(first, self.parts(flat), shapes, strict=True)}
            for flat in (self.flat, self.gradient)
        )
        for j, (name, leaf) in enumerate(self.leaves.items()):
            for own, row in zip(self._own, leaf.unbind(), strict=True):
                own[j].data = row
            self.leaves[name] = leaf.detach().requires_grad_()
        self.buffers = {name: self._stack(models, name) for name, _ in models[0].named_buffers()}

    def take_gradients(self, losses: Tensor) -> None:
        """Write the gradients of `losses`, of shape (N,), by each model's own parameters into `gradient`."""
        # A model's loss depends on its own parameters only, so the gradient of the sum holds them all.
        gradients = torch.autograd.grad(losses.sum(), list(self.leaves.values()))
        for gradient, place in zip(gradients, self.gradients.values(), strict=True):
            if gradient.data_ptr() != place.data_ptr():
                place.copy_(gradient)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Return views of a tensor like `flat`: one of (N, numbers) for each parameter, in the order of `leaves`."""
        return [part.view(self.count, -1) for part in torch.split(flat, [self.count * size for size in self.sizes])]

    @staticmethod
    def _stack(models: Sequence[nn.Module], name: str) -> Tensor:
        place, _, last = name.rpartition(".")
        owners = [model.get_submodule(place) for model in models]
        stack = torch.stack([getattr(owner, last) for owner in owners])
        for owner, row in zip(owners, stack.unbind(), strict=True):
            setattr(owner, last, row)
        return stack

    def rows(self, flat: Tensor, chosen: Sequence[int]) -> list[list[Tensor]]:
        """Return copies of the chosen models' parts of a tensor like `flat`: for each, one of each parameter's shape.

        They are parts of one copy for all.
        """
        index = torch.tensor(chosen, device=flat.device)
        shapes = [leaf.shape[1:] for leaf in self.leaves.values()]
        parts = [part.index_select(0, index) for part in self.parts(flat)]
        columns = [part.view(-1, *shape).unbind() for part, shape in zip(parts, shapes, strict=True)]
        return [list(row) for row in zip(*columns, strict=True)]

    def release(self, chosen: Sequence[int], models: Sequence[nn.Module]) -> None:
        """Copy the tensors of finished models out of the stack, all at once. models: those of the numbers `chosen`."""
        for i, own in zip(chosen, self.rows(self.flat, chosen), strict=True):
            for parameter, row in zip(self._own[i], own, strict=True):
                parameter.data = row
        index = torch.tensor(chosen, device=self.flat.device)
        for name, stack in self.buffers.items():
            place, _, last = name.rpartition(".")
            for model, row in zip(models, stack.index_select(0, index).unbind(), strict=True):
                setattr(model.get_submodule(place), last, row)
