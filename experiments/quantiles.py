"""A loss whose smallest values are quantiles, and how often the target is between two of them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


def pinball(output: Tensor, target: Tensor, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Tensor:
    """Return the mean pinball loss of outputs (N, quantiles) for targets (N, 1).

    Source: Koenker & Bassett 1978, "Regression quantiles".
    """
    share, error = torch.tensor(quantiles, device=output.device), target - output
    return torch.maximum(share * error, (share - 1) * error).mean()


class Covered(Metric):
    """The share of targets between the first output and the last."""

    is_differentiable, higher_is_better, full_state_update = False, True, False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("covered", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: outputs (N, quantiles), targets (N, 1)."""
        target = target.reshape(-1)
        self.covered += ((preds[:, 0] <= target) & (target <= preds[:, -1])).sum()
        self.total += len(target)

    def compute(self) -> Tensor:
        """Return the share, 0 to 1."""
        return self.covered / self.total
