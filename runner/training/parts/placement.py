"""The place of a run's numbers: the device, the type, and the order in memory of images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runner.data import Batch, Nest, Source, Tensors, nests
from runner.model.stack import Stack
from runner.settings import Trainer
from runner.settings.errors import ConfigError

#: Kinds of device that fetch a batch from pinned memory while the processor goes on.
PINNED = ("cuda",)
#: Dimensions of a batch of images, or of volumes -> the memory format in which a place's channels lie side by side.
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
#: Layers that compute in the order of their weights.
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Placement:
    """Puts data and models in their place. What is there already is not copied."""

    device: torch.device
    double: bool = False  # floating-point numbers of 64 bits
    channels_last: bool = False

    @property
    def pinned(self) -> bool:
        """True if batches come from pinned memory."""
        return self.device.type in PINNED

    def moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches in their place; from pinned memory, they are on their way there."""
        for x, y in stream:
            yield self.inputs(x), self.targets(y)

    def source(self, source: Source) -> Source:
        """Return data in memory in its place as a whole; a dataset as it is."""
        return Tensors(self.inputs(source.x), self.targets(source.y)) if isinstance(source, Tensors) else source

    def inputs(self, x: Nest) -> Nest:
        """Return inputs in their place."""
        return nests.mapped(self._input, x)

    def targets(self, y: Nest) -> Nest:
        """Return targets in their place."""
        return nests.mapped(self._moved, y)

    def ordered(self, model: nn.Module) -> nn.Module:
        """Give the weights of the model's convolutions their order in memory. Their numbers stay, and their device."""
        for layer in model.modules() if self.channels_last else ():
            if isinstance(layer, CONVOLUTIONS):
                layer.weight.data = layer.weight.data.contiguous(memory_format=FORMATS[layer.weight.dim()])
        return model

    def _input(self, x: Tensor) -> Tensor:
        x = self._moved(x)
        return x.contiguous(memory_format=FORMATS[x.dim()]) if self.channels_last and x.dim() in FORMATS else x

    def _moved(self, tensor: Tensor) -> Tensor:
        dtype = torch.float64 if self.double and tensor.is_floating_point() else None
        return tensor.to(self.device, dtype, non_blocking=self.pinned)


def placement(trainer: Trainer, device: torch.device) -> Placement:
    """Return the place of a run with these settings."""
    return Placement(device, trainer.precision == "fp64", trainer.channels_last)


def check(trainer: Trainer, plan: Stack) -> None:
    """Raise ConfigError for trainer.channels_last of a model without convolutions of images or volumes."""
    if trainer.channels_last and not any(isinstance(m, CONVOLUTIONS) for m in plan.planned().modules()):
        raise ConfigError(
            "trainer.channels_last",
            "true, and the model has no convolution of images (Conv2d) or volumes (Conv3d), which alone gain by it;"
            " leave it out",
        )
