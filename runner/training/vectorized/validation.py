"""Validation of many models at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from runner.data import Tensors, evaluation_size
from runner.model import host
from runner.training.loop import multiple
from runner.training.measure import EVAL_LOSS
from runner.training.parts import losses as single
from runner.training.parts.metric_sums import MetricValues, counted
from runner.training.run import Run
from runner.training.vectorized.costs import Losses
from runner.training.vectorized.feed import Pool
from runner.training.vectorized.forward import Forward


class Validation:
    """Losses and metric values of many runs: those that `measure.validate` gives for each of them.

    train: the training data of all runs, evaluated where a run monitors `train/loss`.
    copies: see `Pool`.
    """

    def __init__(self, runs: Sequence[Run], forward: Forward, losses: Losses, train: Pool, copies: bool = True) -> None:
        self.runs, self.forward, self.losses, self.train = runs, forward, losses, train
        sources = [run.data.valid for run in runs]
        valid = [source for source in sources if isinstance(source, Tensors)]
        self.valid = None if any(source is None for source in sources) else Pool(valid, copies)
        self.weigh = single.weigh(runs[0].loss)
        self._counts = counted(runs)

    @torch.no_grad()
    def values(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """Return losses and metric values by name, of each run whose number is in `chosen`.

        The other models are evaluated as well: a pass of all costs no more than picking some.
        """
        values: list[dict[str, float]] = [{} for _ in chosen]
        if self.valid is not None:
            metrics = MetricValues(self.runs, chosen, self._counts)
            losses = self._losses(self.valid, metrics.update)
            for one, i, others in zip(values, chosen, metrics.values(), strict=True):
                one |= {"valid/loss": losses[i], **{f"valid/{name}": value for name, value in others.items()}}
        if any(self.runs[i].monitor == "train/loss" for i in chosen):
            losses = self._losses(self.train, lambda output, target: None)
            for one, i in zip(values, chosen, strict=True):
                one |= {EVAL_LOSS: losses[i]} if self.runs[i].monitor == "train/loss" else {}
        return values

    def _losses(self, pool: Pool, watch: Callable[[Tensor, Tensor], None]) -> list[float]:
        """Return the loss of all examples for each run. watch: is called with every batch's outputs and targets."""
        size = evaluation_size(self.runs[0].data.train, self.runs[0].settings.trainer) or pool.size
        parts, weights = [], []
        for start in range(0, pool.size, size):
            x, y = pool.slice(start, min(start + size, pool.size))
            output = self.forward(x, False)
            parts.append(self.losses(output, y))
            weights.append(self._weights(pool, x, y))
            watch(output, y)
        return host.numbers(self._together(parts, weights))

    def _weights(self, pool: Pool, x: Tensor, y: Tensor) -> Tensor:
        """Return the weight of each run's batch beside other batches, of shape (N,)."""
        if self.weigh is None:
            return torch.ones(len(x))
        batches = [(x[0], y[0])] if pool.shared else zip(x, y, strict=True)
        return torch.stack([torch.as_tensor(self.weigh(batch)) for batch in batches]).expand(len(x))

    def _together(self, parts: list[Tensor], weights: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        share = torch.stack(weights).to(parts[0].device, parts[0].dtype)
        total: Tensor = (torch.stack(parts) * multiple(share)).sum(0)
        return total if self.weigh is None else total / share.sum(0)
