"""Classes in an order: the model gives one number, and thresholds cut it into classes."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.data.diabetes import diabetes


class CumulativeLink(nn.Module):
    """The logarithms of the classes' probabilities, of shape (N, classes), from one number of shape (N, 1).

    P(class <= k) = sigmoid(threshold_k - x), with thresholds that rise (McCullagh 1980, "Regression models for ordinal
    data"). Softmax leaves these logarithms as they are, so that cross_entropy is the negative log-likelihood, and
    metrics, predictions and plots are those of any classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(-1.0))
        self.steps = nn.Parameter(torch.zeros(classes - 2))  # their softplus is the distance to the next threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms."""
        thresholds = self.first + torch.cat([self.steps.new_zeros(1), nn.functional.softplus(self.steps).cumsum(0)])
        below = torch.sigmoid(thresholds - x)
        edges = torch.cat([torch.zeros_like(x), below, torch.ones_like(x)], dim=1)
        return edges.diff(dim=1).clamp(min=1e-9).log()


def stages(classes: int = 4, valid: float = 0.15, test: float = 0.15, seed: int = 0) -> Data:
    """Return the patients of `diabetes` with the progress of their disease in as many classes, equally frequent."""
    data = diabetes(valid, test, seed)
    assert isinstance(data.train, Tensors)
    cuts = data.train.y.flatten().quantile(torch.arange(1, classes) / classes)

    def staged(part: Tensors) -> Tensors:
        return Tensors(part.x, torch.bucketize(part.y.flatten(), cuts))

    parts = {name: staged(part) for name in ("train", "valid", "test") if (part := getattr(data, name))}
    names = tuple(f"stage {k}" for k in range(classes))
    return replace(data, **parts, task="multiclass" if classes > 2 else "binary", classes=names)
