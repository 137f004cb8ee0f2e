"""Random numbers of many models at once: each draws from a generator of its own, what it would draw alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Draws:
    """One generator for each model, which goes on from `states`: what `exact.random_state` gives."""

    def __init__(self, states: Sequence[dict[str, Any]], device: torch.device) -> None:
        self.states, self.device = list(states), device
        self.key = "torch" if device.type == "cpu" else device.type
        self.generators = [torch.Generator(device) for _ in states]
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state[self.key])

    def state(self, i: int) -> dict[str, Any]:
        """Of model i, as if it had drawn all of it from the generators of the process."""
        return {**self.states[i], self.key: self.generators[i].get_state()}

    def kept(self, shape: Sequence[int], drop: Sequence[float], dtype: torch.dtype) -> Tensor:
        """What dropout multiplies with, (N, *shape): 0 with the model's probability in `drop`, else 1 / (1 - it)."""
        # The same calls as torch.nn.functional.dropout's on the CPU: one draw for each element, in their order.
        noise = torch.empty((len(drop), *shape), dtype=dtype, device=self.device)
        for row, generator, p in zip(noise.unbind(), self.generators, drop, strict=True):
            if 0 < p < 1:
                row.bernoulli_(1 - p, generator=generator)
            else:
                row.fill_(1 - p)
        left = torch.tensor([1 - p if p < 1 else 1.0 for p in drop], dtype=dtype, device=self.device)
        return noise.div_(left.view(-1, *(1 for _ in shape)))
