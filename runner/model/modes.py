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
    if not any(map(_does_more, modes)):  # torch sets the attributes a hundred times as slowly
        for module in modes:
            vars(module)["training"] = False
        try:
            yield
        finally:
            for module, training in modes.items():
                vars(module)["training"] = training
        return
    model.eval()
    try:
        yield
    finally:
        model.train(modes[model])
        for module, training in modes.items():
            module.training = training


def _does_more(module: nn.Module) -> bool:
    """Return whether a change of the mode may do more than to set an attribute, as in a person's module."""
    kind = type(module)
    plain = kind.train is nn.Module.train and kind.eval is nn.Module.eval and kind.__setattr__ is nn.Module.__setattr__
    return not plain or "training" not in vars(module)
