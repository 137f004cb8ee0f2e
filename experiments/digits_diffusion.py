"""A diffusion model of the digits, after Ho, Jain and Abbeel 2020, https://arxiv.org/abs/2006.11239."""

from typing import Any

import torch
from torch import Tensor, nn

STEPS = 50


class Denoiser(nn.Module):
    """The noise in an image, (N, 1, 8, 8), of which a time says how much there is, (N,) from 0 to STEPS - 1."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.time = nn.Embedding(STEPS, width)
        self.image = nn.Linear(64, width)
        self.net = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64))

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Return the noise. Without a time, as predictions call it, there is the least."""
        time = torch.zeros(x.shape[0], dtype=torch.long, device=x.device) if time is None else time
        y: Tensor = self.net(self.image(x.flatten(1)) + self.time(time))
        return y.view_as(x)


def left(device: Any = None) -> Tensor:
    """Return the share of the image's variance that is left at each time, (STEPS,)."""
    return (1 - torch.linspace(1e-4, 0.2, STEPS, device=device)).cumprod(0)


def noise(model: nn.Module, batch: Any) -> Tensor:
    """Return the squared error of the predicted noise, each image at a time that is drawn."""
    x = 2 * batch[0] - 1
    time = torch.randint(STEPS, (len(x),), device=x.device)
    share, drawn = left(x.device)[time].view(-1, 1, 1, 1), torch.randn_like(x)
    return (model(share.sqrt() * x + (1 - share).sqrt() * drawn, time) - drawn).square().mean()


@torch.no_grad()
def sample(model: nn.Module, number: int) -> Tensor:
    """Return new images, (number, 1, 8, 8), drawn step by step from noise."""
    x, shares = torch.randn(number, 1, 8, 8), left()
    for step in reversed(range(STEPS)):
        share, before = shares[step], shares[step - 1] if step else torch.ones(())
        alpha = share / before
        mean = (x - (1 - alpha) / (1 - share).sqrt() * model(x, torch.full((number,), step))) / alpha.sqrt()
        x = mean + ((1 - alpha) * (1 - before) / (1 - share)).sqrt() * torch.randn_like(x)
    return (x + 1) / 2


def drawn(run: Any) -> Any:
    """Draw 40 new digits."""
    from matplotlib.figure import Figure

    images = nn.functional.pad(sample(run.model, 40).reshape(5, 8, 8, 8), (1, 1, 1, 1))
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(images.permute(0, 2, 1, 3).reshape(50, 80), cmap="gray_r", vmin=0, vmax=1)
    axes.set(title=f"Drawn by {run.title}", xticks=[], yticks=[])
    return figure
