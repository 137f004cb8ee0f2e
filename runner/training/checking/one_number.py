"""Layers that take mean and variance over a batch, where they are left a single number."""

from torch import nn

from runner.data import Data
from runner.model import stack
from runner.settings import Settings
from runner.settings.errors import ConfigError

#: Beginning of torch's message about the mean and variance of a single number, an error without a class of its own.
MESSAGE = "Expected more than 1"

#: Layers that take mean and variance over places, and some over the batch.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS = (*BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)


def is_meant(error: Exception) -> bool:
    """Return whether torch raised this error for the mean and variance of a single number."""
    return MESSAGE in str(error)


def problem(settings: Settings, data: Data, layer: stack.Layer, size: int) -> ConfigError:
    """Return the error for a layer that takes mean and variance over a batch of one, with the remedy."""
    trainer, total = settings.trainer, len(data.train)  # type: ignore[arg-type]
    whole = min(trainer.batch_size or total, total)
    where = f"{key(layer)} takes mean and variance over a batch, which are not those of a single number"
    if total == 1:
        return ConfigError("data", f"{where}, and there is one training example; give more of them")
    better = next((n for n in range(whole + 1, total + 1) if total % n != 1), total)
    remedy = f"use trainer.batch_size={better}"
    if whole > 1:
        remedy += ", or trainer.drop_last=true"
    return ConfigError(
        "trainer.batch_size",
        f"{total} training examples in batches of {whole} leave a batch of one; {where}; {remedy}",
    )


def key(layer: stack.Layer) -> str:
    """Return the key of the normalization in `layer` that has one number for each channel; else that of `layer`."""
    layers = (layer, *layer.inner())
    inner = [one for one in layers if isinstance(one.target, type) and issubclass(one.target, NORMS)]
    return next((one.key for one in inner if all(n == 1 for n in one.input[1:])), layer.key)
