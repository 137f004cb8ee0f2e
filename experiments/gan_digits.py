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


class Adversarial:
    """A step of the discriminator, then one of the generator, each with its optimizer.

    The generator has the optimizer of the configuration, which follows the schedule.
    """

    def __init__(self, state: Any, lr: float = 0.001) -> None:
        generator, self.discriminator = state.model.generator, state.model.discriminator
        state.optimizer.param_groups[0]["params"] = list(generator.parameters())
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def __call__(self, state: Any, parts: Any) -> dict[str, Tensor]:
        """Step both optimizers on the batches of a step, and return both losses."""
        pairs = [(share, real, state.model.generator(torch.randn_like(noise))) for share, (noise, real) in parts]

        self.optimizer.zero_grad()
        judged = sum(share * self.judged(real, drawn.detach()) for share, real, drawn in pairs)
        judged.backward()
        self.optimizer.step()

        state.optimizer.zero_grad()
        fooled = sum(share * softplus(-self.discriminator(drawn)).mean() for share, _, drawn in pairs)
        fooled.backward()
        state.optimizer.step()
        return {"loss": fooled.detach(), "discriminator": judged.detach()}

    def judged(self, real: Tensor, drawn: Tensor) -> Any:
        """Return the discriminator's loss: what is real ought to give large numbers, what is drawn small ones."""
        return softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(drawn)).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the discriminator's optimizer, for checkpoints."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the discriminator's optimizer."""
        self.optimizer.load_state_dict(state)


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
