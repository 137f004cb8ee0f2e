"""Many runs of one architecture as one program: a step of it is a step of each of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from runner.training.run import Run
from runner.training.vectorized.costs import losses
from runner.training.vectorized.feed import Pool, RandomStates, feed
from runner.training.vectorized.forward import forward
from runner.training.vectorized.shared import has_own
from runner.training.vectorized.stacked import Stacked
from runner.training.vectorized.update import Update
from runner.training.vectorized.validation import Validation


class Program:
    """Runs whose tensors and random states are parts of the program's own.

    Between two steps each run can be read, saved and evaluated as if it trained alone.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        first = runs[0]
        models = [run.model for run in runs]
        self.stacked = Stacked(models)
        self.random_states = RandomStates(
            [run.rng_state() if run.rng_state else run.ready for run in runs], first.device
        )
        self.forward = forward(self.stacked, models, self.random_states)
        self.losses = losses(first.loss)
        self.update = Update(self.stacked, [run.state.optimizer for run in runs])
        copies = has_own(first)
        train = Pool([run.data.train for run in runs], copies)  # type: ignore[misc]
        self.validation = Validation(self.runs, self.forward, self.losses, train, copies)
        self._feed = feed(self.runs, train)
        self._clip = _clip(runs)
        for i, run in enumerate(runs):
            run.model.train()
            run.rng_state = _random_state(self.random_states, i)

    def step(self) -> Tensor:
        """Take a step of every run, and return the losses before it, of shape (N,)."""
        x, y = next(self._feed)
        losses = self.losses(self.forward(x, True), y)
        self.stacked.take_gradients(losses)
        if self._clip is not None:
            with torch.no_grad():
                self._clip(list(self.stacked.gradients.values()))
        with torch.no_grad():
            self.update.step()
        for run in self.runs:
            run.state.step += 1
        return losses.detach()


def _random_state(random_states: RandomStates, i: int) -> Any:
    return lambda: random_states.state(i)


def _clip(runs: Sequence[Run]) -> Any:
    """Return a function that clips gradients, each of shape (N, *shape), in place; None if no run clips.

    For one model, `optimizers.clip` does the same.
    """
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
