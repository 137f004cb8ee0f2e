"""Two targets of the same digits, and a model with an output for each."""

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.data.digits import digits


def digit_and_parity(valid: float = 0.15, test: float = 0.15) -> Data:
    """Return the digits with two targets by name: which digit it is, and whether it is odd."""
    read = digits(flat=True, valid=valid, test=test)

    def both(source: Tensors) -> Tensors:
        return Tensors(source.x, {"digit": source.y, "parity": source.y % 2})

    return Data(*(both(part) for part in (read.train, read.valid, read.test)), classes={"parity": ("even", "odd")})


class TwoHeads(nn.Module):
    """A body and two heads: a dict of outputs, (N, 10) and (N, 2)."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, hidden), nn.ReLU())
        self.digit, self.parity = nn.Linear(hidden, 10), nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of both tasks."""
        hidden = self.body(x)
        return {"digit": self.digit(hidden), "parity": self.parity(hidden)}


def pairs(noise: float = 0.3, seed: int = 0) -> Data:
    """Return two noisy views of each digit, x = (one, other); the targets are the digits, which no loss here reads."""
    read = digits(flat=True)
    generator = torch.Generator().manual_seed(seed)

    def views(source: Tensors) -> Tensors:
        one, other = (source.x + noise * torch.randn(source.x.shape, generator=generator) for _ in range(2))
        return Tensors((one, other), source.y)

    return Data(*(views(part) for part in (read.train, read.valid, read.test)))


class Encoder(nn.Module):
    """Both views through one network: a tuple of two embeddings, (N, size)."""

    def __init__(self, hidden: int = 64, size: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, views: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the embedding of each view, of length 1."""
        one, other = (nn.functional.normalize(self.layers(view), dim=1) for view in views)
        return one, other


def info_nce(output: tuple[Tensor, Tensor], target: Tensor, temperature: float = 0.2) -> dict[str, Tensor]:
    """Return the loss by which each view finds its other one among all of the batch, and how often it does.

    van den Oord, Li, Vinyals 2018, https://arxiv.org/abs/1807.03748
    """
    scores = output[0] @ output[1].T / temperature
    own = torch.arange(len(scores), device=scores.device)
    return {"loss": nn.functional.cross_entropy(scores, own), "found": (scores.argmax(1) == own).float().mean()}
