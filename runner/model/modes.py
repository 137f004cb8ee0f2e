"""Training and evaluation mode of modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode for a block, and every module of it back into its own mode afterwards.

    A model whose normalization layers are frozen, that is: in evaluation mode while the rest is trained, keeps them so.

        with evaluating(model), torch.no_grad():
            output = model(x)
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        model.train(modes[model])  # a person's module may do more in `train` than to set an attribute
        for module, training in modes.items():
            module.training = training
