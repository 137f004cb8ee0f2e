"""A loss for a small network that learns from a larger one as well as from the labels."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

import runner


class Distilled(nn.Module):
    """Named parts: hard, the cross-entropy with the labels, and soft, the divergence from the teacher's probabilities.

    teacher: RUN, as everywhere. temperature: divides the logits of both. share: of the soft part in the loss.
    Source: Hinton, Vinyals & Dean 2015, https://arxiv.org/abs/1503.02531.
    """

    def __init__(self, teacher: str, temperature: float = 3.0, share: float = 0.7) -> None:
        super().__init__()
        self.teacher = runner.load(teacher).requires_grad_(False)
        self.temperature, self.share = temperature, share

    def forward(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return the loss and its parts."""
        x, y = batch
        logits, t = model(x), self.temperature
        with torch.no_grad():
            target = softmax(self.teacher(x) / t, 1)
        soft = kl_div(log_softmax(logits / t, 1), target, reduction="batchmean") * t**2
        hard = cross_entropy(logits, y)
        return {"loss": self.share * soft + (1 - self.share) * hard, "hard": hard, "soft": soft}
