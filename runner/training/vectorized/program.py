"""Many runs of one architecture as one program: a step of it is a step of each of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from runner.training.run import Run
from runner.training.vectorized.costs import losses
from runner.training.vectorized.draws import Draws
from runner.training.vectorized.feed import Pool, feed
from runner.training.vectorized.forward import forward
from runner.training.vectorized.look import Look
from runner.training.vectorized.shared import has_own
from runner.training.vectorized.stacked import Stacked
from runner.training.vectorized.update import Update


class Program:
    """The runs stay what they are: their tensors and random state are parts of the program's.

    Between two steps each can be looked at, saved and evaluated as if it trained alone.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        first = runs[0]
        models = [run.model for run in runs]
        self.stacked = Stacked(models)
        self.draws = Draws([run.rng_state() if run.rng_state else run.ready for run in runs], first.device)
        self.forward = forward(self.stacked, models, self.draws)
        self.losses = losses(first.loss)
        self.update = Update(self.stacked, [run.state.optimizer for run in runs])
        copies = has_own(first)
        train = Pool([run.data.train for run in runs], copies)  # type: ignore[misc]
        self.look = Look(self.runs, self.forward, self.losses, train, copies)
        self._feed = feed(self.runs, train)
        self._clip = _clip(runs)
        for i, run in enumerate(runs):
            run.model.train()
            run.rng_state = _random(self.draws, i)

    def step(self) -> Tensor:
        """Every run takes a step. Its loss of each, (N,), as before the step."""
        x, y = next(self._feed)
        found = self.losses(self.forward(x, True), y)
        self.stacked.take_gradients(found)
        if self._clip is not None:
            with torch.no_grad():
                self._clip(list(self.stacked.gradients.values()))
        with torch.no_grad():
            self.update.step()
        for run in self.runs:
            run.state.step += 1
        return found.detach()


def _random(draws: Draws, i: int) -> Any:
    return lambda: draws.state(i)


def _clip(runs: Sequence[Run]) -> Any:
    """What cuts the gradients, (N, *shape) each, in place, as `build.clip` does for one model."""
    trainers = [run.settings.trainer for run in runs]
    if all(t.clip_norm is None and t.clip_value is None for t in trainers):
        return None
    inf = float("inf")
    like: dict[str, Any] = {"dtype": next(runs[0].model.parameters()).dtype, "device": runs[0].device}
    norms = torch.tensor([inf if t.clip_norm is None else t.clip_norm for t in trainers], **like)
    values = torch.tensor([inf if t.clip_value is None else t.clip_value for t in trainers], **like)

    def clip(gradients: list[Tensor]) -> None:
        each = torch.stack([part.reshape(len(part), -1).norm(dim=1) for part in gradients])
        share = (norms / (each.norm(dim=0) + 1e-6)).clamp_(max=1.0)
        share = share.where(norms < inf, torch.ones_like(share))
        for part in gradients:
            shape = (-1, *(1 for _ in part.shape[1:]))
            part.mul_(share.view(shape)).clamp_(-values.view(shape), values.view(shape))

    return clip
