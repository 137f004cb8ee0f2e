"""A generator that draws digits and a discriminator, each with its optimizer: experiments/gan_digits.yaml."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from runner.data import Data, Tensors
from runner.data.digits import digits

#: Numbers of noise from which a digit is drawn.
SIZE = 16


def real(seed: int = 0, **arguments: Any) -> Data:
    """Return the digits, 64 numbers from 0 to 1 each, as targets, and noise of shape (N, 16) as inputs."""
    data = digits(**{**arguments, "flat": True, "seed": seed})
    generator = torch.Generator().manual_seed(seed)

    def pairs(source: Any) -> Tensors:
        return Tensors(torch.randn(len(source), SIZE, generator=generator), source.x)

    return Data(pairs(data.train), pairs(data.valid), pairs(data.test))


class Fooling(nn.Module):
    """mean(log(1 + exp(-D(G(z))))): small where the discriminator takes drawn digits for real ones."""

    def forward(self, judged: Tensor, real: Tensor) -> Tensor:
        """Return the loss of the generator, a scalar. judged: the discriminator's outputs for drawn digits, (N, 1)."""
        return softplus(-judged).mean()


def adversarial(state: Any, parts: Any) -> dict[str, Tensor]:
    """Take a step of the discriminator, then one of the generator, and return both losses."""
    generator, discriminator = state.model.generator, state.model.discriminator
    losses = {}
    for name in ("discriminator", "generator"):
        state.optimizers[name].zero_grad()
        for share, (noise, real) in parts:
            drawn = generator(torch.randn_like(noise))
            if name == "generator":
                loss = softplus(-discriminator(drawn)).mean()
            else:
                loss = softplus(-discriminator(real)).mean() + softplus(discriminator(drawn.detach())).mean()
            (share * loss).backward()
            losses[name] = losses.get(name, 0) + share * loss.detach()
        state.optimizers[name].step()
    return {"loss": losses["generator"], "discriminator": losses["discriminator"]}


def drawn(run: Any) -> Any:
    """Draw 40 digits of the generator."""
    from matplotlib.figure import Figure

    with torch.no_grad():
        images = run.model.generator(run.data.valid.x[:40]).reshape(5, 8, 8, 8)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    sheet = pad(images, (1, 1, 1, 1)).permute(0, 2, 1, 3).reshape(50, 80)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set(title=f"Drawn by {run.title}", xticks=[], yticks=[])
    return figure
