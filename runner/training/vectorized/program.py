"""Many runs of one architecture as one program: a step of it is a step of each of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from runner.training.parts.batches import is_own
from runner.training.run import Run
from runner.training.vectorized.bests import Bests
from runner.training.vectorized.costs import losses
from runner.training.vectorized.draws import RandomStates
from runner.training.vectorized.feed import Feed, Pool
from runner.training.vectorized.forward import forward
from runner.training.vectorized.replays import Changed, Replays
from runner.training.vectorized.shared import has_own
from runner.training.vectorized.stacked import Stacked
from runner.training.vectorized.update import Update
from runner.training.vectorized.validation import Validation
from runner.training.vectorized.ways import MOST, Fused


class Program:
    """Runs whose tensors and random states are parts of the program's own.

    Between two blocks of steps each run can be read, saved and evaluated as if it trained alone.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        first = runs[0]
        models = [run.model for run in runs]
        self.stacked = Stacked(models)
        seeds, steps = [run.settings.seed for run in runs], [run.state.step for run in runs]
        states = [run.rng_state() if run.rng_state else run.ready for run in runs]
        self.random_states = RandomStates(states, models, seeds, steps, first.device)
        self.forward = forward(self.stacked, models, self.random_states)
        self.losses = losses(first.loss)
        self._row = torch.zeros(1, dtype=torch.int64, device=first.device)  # number of the step within its block
        self.update = Update(self.stacked, runs, self._row)
        self.bests = Bests(self.stacked, runs)
        copies = has_own(first)
        train = Pool([run.data.train for run in runs], copies)  # type: ignore[misc]
        self.validation = Validation(self.runs, self.forward, self.losses, train, copies)
        self._feed = Feed(self.runs, train)
        self._clip = _clip(runs)
        # Code of the user's own may do more in a step than a device can see.
        own = any(is_own(module) for module in (*first.model.modules(), *first.loss.modules()))
        graph = first.settings.trainer.graph
        # Torch's own fused step on the processor has its numbers from Python.
        captures = (graph is True or (graph == "auto" and not own)) and not isinstance(self.update.way, Fused)
        self._replays = Replays(self.step, first.device, captures, self._changed)
        self._taken = torch.empty(0)  # losses of a block, (steps, N)
        for i, run in enumerate(runs):
            if not run.model.training:
                run.model.train()
            run.rng_state = partial(self.random_states.state, i)

    def block(self, n: int) -> Tensor:
        """Take `n` steps of every run, at most MOST, and return the losses before each, of shape (n, N).

        They are overwritten by the next block.
        """
        self.bests.flush()
        if self.update.begin(n):
            self._replays.forget()
        self._row.zero_()
        for _ in range(n):
            self._replays(self._feed.next())
        self.update.end(n)
        for run in self.runs:
            run.state.step += n
        return self._taken[:n]

    def step(self, size: int) -> Tensor:
        """Take a step with batches of `size` examples, and return the losses before it, of shape (N,).

        It reads and writes tensors that stay where they are, and nothing of the host's: its operations can be recorded
        and repeated.
        """
        x, y = self._feed.batch(size)
        losses = self.losses(self.forward(x, True), y)
        self.stacked.take_gradients(losses)
        with torch.no_grad():
            if self._clip is not None:
                self._clip(list(self.stacked.gradients.values()))
            self.update.step()
            self._write(losses.detach())
            self._row.add_(1)
        return losses.detach()

    def _changed(self) -> Changed:
        own = (*self.stacked.buffers.values(), *self.update.states, self._feed.place, self._row, self._taken)
        return (self.stacked.flat, self.stacked.gradient, *own), self.random_states.in_use

    def close(self) -> None:
        """Give back the memory of captured steps."""
        self._replays.forget()

    def release(self, chosen: Sequence[int]) -> None:
        """Copy the tensors of finished runs out of the stack."""
        self.bests.release(chosen)
        self.update.release(chosen)
        self.stacked.release(chosen, [self.runs[i].model for i in chosen])

    def _write(self, losses: Tensor) -> None:
        if not self._taken.numel():
            self._taken = losses.new_empty((MOST, len(losses)))
        self._taken.index_copy_(0, self._row, losses.unsqueeze(0))


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
