"""Digits that a generator draws and a discriminator judges, each with its optimizer: experiments/gan_digits.yaml."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from runner.data import Data, Tensors
from runner.data.digits import digits

#: Numbers of noise that a digit is drawn from.
SIZE = 16


def real(valid: float = 0.2, seed: int = 0) -> Data:
    """The digits, 64 numbers from 0 to 1 each, as targets; noise of shape (N, 16) as inputs."""
    data, generator = digits(valid=valid, test=0.0, seed=seed), torch.Generator().manual_seed(seed)
    assert isinstance(data.train, Tensors)
    assert isinstance(data.valid, Tensors)

    def pairs(images: Tensor) -> Tensors:
        return Tensors(torch.randn(len(images), SIZE, generator=generator), images.flatten(1))

    return Data(pairs(data.train.x), pairs(data.valid.x))


class Fooling(nn.Module):
    """mean(log(1 + exp(-D(G(z))))): small where the discriminator takes what is drawn for real."""

    def forward(self, judged: Tensor, real: Tensor) -> Tensor:
        return softplus(-judged).mean()


class Adversarial:
    """A step of the discriminator, then one of the generator, each with an optimizer of its own.

    The optimizer of the configuration, and with it the schedule, drives the generator.
    """

    def __init__(self, state: Any, lr: float = 0.001) -> None:
        generator, self.discriminator = state.model.generator, state.model.discriminator
        state.optimizer.param_groups[0]["params"] = list(generator.parameters())
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def __call__(self, state: Any, parts: Any) -> dict[str, Tensor]:
        [(_, (noise, real))] = parts
        drawn = state.model.generator(torch.randn_like(noise))

        self.optimizer.zero_grad()
        judged = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(drawn.detach())).mean()
        judged.backward()
        self.optimizer.step()

        state.optimizer.zero_grad()
        fooled = softplus(-self.discriminator(drawn)).mean()
        fooled.backward()
        state.optimizer.step()
        return {"loss": fooled.detach(), "discriminator": judged.detach()}

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


def drawn(run: Any) -> Any:
    """40 digits that the generator draws."""
    from matplotlib.figure import Figure

    with torch.no_grad():
        images = run.model.generator(run.data.valid.x[:40]).reshape(5, 8, 8, 8)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    sheet = pad(images, (1, 1, 1, 1)).permute(0, 2, 1, 3).reshape(50, 80)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set(title=f"Drawn by {run.title}", xticks=[], yticks=[])
    return figure
