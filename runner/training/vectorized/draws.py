"""Random numbers that many models draw in a step: each those that it would draw alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from runner.training.parts.dropout import Streams


class RandomStates:
    """The random numbers of dropout: on the processor torch's own of each model, elsewhere those of its stream.

    states: of each model, as `Run.random_state` returns them. models, seeds: of the runs.
    """

    def __init__(
        self,
        states: Sequence[dict[str, Any]],
        models: Sequence[nn.Module],
        seeds: Sequence[int],
        steps: Sequence[int],
        device: torch.device,
    ) -> None:
        self.states, self.device = list(states), device
        self.streams = Streams(models, seeds, device)
        for i, (state, step) in enumerate(zip(states, steps, strict=True)):
            self.streams.load_state_dict(state, step, i)
        self.in_use: list[torch.Generator] = []  # of the processor, once something was drawn

    def state(self, i: int) -> dict[str, Any]:
        """Return the random state of model i, as if it trained alone."""
        drawn = {"torch": self.in_use[i].get_state()} if self.in_use else {}
        return {**self.states[i], **drawn, **self.streams.state_dict(i)}

    def dropout_mask(self, layer: nn.Module, shape: Sequence[int], drop: Sequence[float], dtype: torch.dtype) -> Tensor:
        """Return the factors of dropout, of shape (N, *shape): 0 with probability p, else 1 / (1 - p).

        layer: of the first model. shape: of one model's mask. drop: p of each model.
        """
        if self.device.type != "cpu":
            return self.streams.mask(layer, shape, drop, dtype)
        # The same calls as torch.nn.functional.dropout's on the CPU: one draw for each element, in their order.
        noise = torch.empty((len(drop), *shape), dtype=dtype)
        for row, generator, p in zip(noise.unbind(), self.generators, drop, strict=True):
            if 0 < p < 1:
                row.bernoulli_(1 - p, generator=generator)
            else:
                row.fill_(1 - p)
        remaining = torch.tensor([1 - p if p < 1 else 1.0 for p in drop], dtype=dtype)
        return noise.div_(remaining.view(-1, *(1 for _ in shape)))

    @property
    def generators(self) -> list[torch.Generator]:
        """One generator of the processor for each model, made when something is drawn."""
        if not self.in_use:
            self.in_use = [torch.Generator() for _ in self.states]
            for generator, state in zip(self.in_use, self.states, strict=True):
                generator.set_state(state["torch"])
        return self.in_use
