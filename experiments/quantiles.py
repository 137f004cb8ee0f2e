"""A loss whose smallest values are quantiles, and how often the target is between two of them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import MeanMetric


def pinball(output: Tensor, target: Tensor, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Tensor:
    """Return the mean pinball loss of outputs (N, quantiles) for targets (N, 1).

    Source: Koenker & Bassett 1978, "Regression quantiles".
    """
    share, error = torch.tensor(quantiles), target - output
    return torch.maximum(share * error, (share - 1) * error).mean()


class Covered(MeanMetric):
    """The share of targets between the first output and the last."""

    higher_is_better = True

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch: outputs (N, quantiles), targets (N, 1)."""
        target = target.reshape(-1)
        super().update(((output[:, 0] <= target) & (target <= output[:, -1])).float())
