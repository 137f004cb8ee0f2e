"""A variational autoencoder of the digits, after Kingma and Welling 2013, https://arxiv.org/abs/1312.6114."""

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.data.digits import digits


def images() -> Data:
    """Return the digits as inputs and as targets."""
    read = digits(flat=True)
    return Data(*(Tensors(part.x, part.x) for part in (read.train, read.valid, read.test)))


class VAE(nn.Module):
    """A dict of outputs: the image, (N, 64), and mean and logarithm of the variance of its code, (N, size)."""

    def __init__(self, hidden: int = 64, size: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 2 * size))
        self.decoder = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, 64))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the image of a code that is drawn in training, and is the mean in evaluation."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean
        return {"image": self.decoder(code), "mean": mean, "log_variance": log_variance}


def elbo(output: dict[str, Tensor], target: Tensor, beta: float = 1.0) -> dict[str, Tensor]:
    """Return the negative lower bound and its two parts, each a sum over an example's numbers."""
    reconstruction = nn.functional.mse_loss(output["image"], target, reduction="none").sum(1).mean()
    mean, log_variance = output["mean"], output["log_variance"]
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return {"loss": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": kl}
