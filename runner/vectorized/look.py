"""A look at the validation data for many models at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from runner import losses as single
from runner.data import Tensors
from runner.loop import multiple
from runner.run import Run
from runner.vectorized.costs import Losses
from runner.vectorized.feed import Pool
from runner.vectorized.forward import Forward
from runner.vectorized.scores import Scores


class Look:
    """What `Run.look_at` would find for each of the runs."""

    def __init__(self, runs: Sequence[Run], forward: Forward, losses: Losses) -> None:
        self.runs, self.forward, self.losses = runs, forward, losses
        found = [run.data.valid for run in runs]
        self.pool = None if any(v is None for v in found) else Pool([v for v in found if isinstance(v, Tensors)])
        self.weigh = single.weigh(runs[0].loss)

    @torch.no_grad()
    def __call__(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """The values of the runs with these numbers. The others are gone through as well: all of them cost one pass."""
        if self.pool is None:
            return [{} for _ in chosen]
        scores = Scores(self.runs, chosen)
        size = self.runs[0].settings.trainer.batch_size
        size = max(size, 256) if size else self.pool.size
        parts, weights = [], []
        for start in range(0, self.pool.size, size):
            x, y = self.pool.slice(start, min(start + size, self.pool.size))
            output = self.forward(x, False)
            parts.append(self.losses(output, y))
            weights.append(self._weights(x, y))
            scores.update(output, y)
        values = self._together(parts, weights).tolist()
        found = [{"loss": values[i], **others} for i, others in zip(chosen, scores.values(), strict=True)]
        return [{f"valid/{name}": value for name, value in one.items()} for one in found]

    def _weights(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,), what each run's batch counts."""
        if self.weigh is None:
            return torch.ones(len(x))
        shared = self.pool is not None and self.pool.shared
        batches = [(x[0], y[0])] if shared else zip(x, y, strict=True)
        return torch.stack([torch.as_tensor(self.weigh(batch)) for batch in batches]).expand(len(x))

    def _together(self, parts: list[Tensor], weights: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        share = torch.stack(weights).to(parts[0].device, parts[0].dtype)
        total: Tensor = (torch.stack(parts) * multiple(share)).sum(0)
        return total if self.weigh is None else total / share.sum(0)
