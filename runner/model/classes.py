"""The classes and functions that names of layers mean."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from runner.model import hub
from runner.settings.errors import ConfigError
from runner.settings.trust import permission
from runner.settings.values import lookup
from runner.settings.values.lookup import Kind

#: Names of torchvision's transforms, beside those that begin with Random, which people write as layers.
TRANSFORMS = (
    "ColorJitter",
    "GaussianNoise",
    "RandAugment",
    "AutoAugment",
    "TrivialAugmentWide",
    "AugMix",
    "MixUp",
    "CutMix",
)


#: Names of other packages' layers -> what is written here.
ELSEWHERE = {
    "Resize": "{Upsample: {size: [32, 32]}}",
    "Resizing": "{Upsample: {size: [32, 32]}}",
    "Rescaling": "{Normalize: {mean: 0, std: 255}}",
    "Pad": "{ZeroPad2d: 2}",
    "ZeroPadding2D": "{ZeroPad2d: 2}",
    "Dense": "{Linear: 64}",
    "Conv2D": "{Conv2d: {out_channels: 16, kernel_size: 3}}",
    "Conv2DTranspose": "{ConvTranspose2d: {out_channels: 16, kernel_size: 2, stride: 2}}",
    "MaxPooling2D": "{MaxPool2d: 2}",
    "AveragePooling2D": "{AvgPool2d: 2}",
    "GlobalAveragePooling2D": "[{AdaptiveAvgPool2d: 1}, Flatten]",
    "GlobalMaxPooling2D": "[{AdaptiveMaxPool2d: 1}, Flatten]",
    "UpSampling2D": "{Upsample: {scale_factor: 2}}",
    "BatchNormalization": "BatchNorm2d",
    "LayerNormalization": "LayerNorm",
    "Concatenate": "{Concat: [a, b]}",
    "Reshape": "{Unflatten: {dim: 1, unflattened_size: [16, 4, 4]}}",
}


def _is_layer(value: Any) -> bool:
    if isinstance(value, type) and issubclass(value, nn.Module):
        if issubclass(value, LazyModuleMixin) and value.cls_to_become is None:
            return False
        return value is not nn.Module and (value.__module__.startswith("torch.nn.") or lookup.is_users(value))
    return inspect.isfunction(value) and lookup.is_users(value)


LAYER = Kind(
    "a layer", ("runner.layers", "torch.nn"), _is_layer, own="a class that inherits from torch.nn.Module, or a function"
)


def find(name: Any, key: str) -> Any:
    """Return the class or function that a layer's name means. Raises ConfigError for a name that is no layer.

    Of a lazy class, the class that it becomes, as sizes are inferred: torch draws the weights of a lazy layer at its
    first call, and here every layer's are drawn in the model's order.
    """
    try:
        if hub.is_named(name) and name.partition(".")[0] not in permission.packages():
            return hub.find(name, key)
        target = lookup.find(name, LAYER, key)
    except ConfigError as error:
        bare = name.rpartition(".")[2] if isinstance(name, str) else ""
        if bare.startswith("Random") or bare in TRANSFORMS:
            raise ConfigError(key, f"{bare} is no layer, which would act in validation and prediction too; training"
                f" examples are transformed by data.augment=[{bare}]") from error  # fmt: skip
        if bare in ELSEWHERE:
            raise ConfigError(key, f"{bare} is of another package; expected {ELSEWHERE[bare]}") from error
        raise
    return target.cls_to_become if isinstance(target, type) and issubclass(target, LazyModuleMixin) else target


class Targets:
    """The classes of a model's layers by their names, each looked up once."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}
        self.masked = False  # whether a `Mask` comes before the layer that is planned
        self.around: list[list[str]] = []  # names of layers: of the stack that is planned, and of those around it

    @contextlib.contextmanager
    def within(self, names: list[str]) -> Iterator[None]:
        """Plan a stack whose layers have these names in a block."""
        masked = self.masked
        self.around.append(names)
        try:
            yield
        finally:
            self.around.pop()
            self.masked = masked

    def find(self, name: Any, key: str) -> Any:
        """Return what `find` gives. Raises ConfigError as `find` does."""
        if not isinstance(name, str) or name not in self._by_name:
            self._by_name[name] = find(name, key)
        return self._by_name[name]
