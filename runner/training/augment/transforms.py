"""The transforms of `data.augment`: torchvision's by their own names, and code of one's own by dotted names."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from runner.settings.errors import ConfigError, Problems, brief
from runner.settings.values import lookup
from runner.settings.values.lookup import Bound, Kind
from runner.training.augment import mixes

KEY = "data.augment"
HOME = "torchvision.transforms.v2"
#: Spellings of torchvision's module before a name.
PREFIXES = (f"{HOME}.", "torchvision.transforms.", "transforms.v2.", "transforms.", "v2.", "T.")
#: Keys that people write for the parts of data.
PARTS = ("train", "training", "valid", "val", "validation", "test", "eval")
#: Transforms that hold others.
HOLDERS = ("Compose", "RandomApply", "RandomChoice", "RandomOrder")
#: Transforms that draw nothing and change all numbers of a picture -> what does the same in all parts of the data.
EVERYWHERE = {
    "Normalize": "the first layer of the model: {Normalize: {mean: 0.5, std: 0.5}}",
    "Grayscale": "pictures of one channel in the data, or a first layer {Mean: {dim: 1, keepdim: true}}",
}
#: Arguments that take more than their annotations say: value=random, padding of several numbers.
LOOSE = {"RandomErasing": ("value",)}
#: Transforms that give several pictures, or that work on what is no tensor.
REFUSED = {
    "FiveCrop": "gives five pictures of one",
    "TenCrop": "gives ten pictures of one",
    "ToTensor": "makes tensors of PIL images, and examples are tensors",
    "PILToTensor": "makes tensors of PIL images, and examples are tensors",
    "ToPILImage": "makes PIL images, and a model takes tensors",
    "SanitizeBoundingBoxes": "leaves boxes out, and each example has as many as its target says: one that is cut off"
    " stays, with no width or no height, for a loss of your own to leave out",
    "ConvertBoundingBoxFormat": "gives training boxes of another format than validation; convert them in the data",
    "Lambda": "needs a function; name your own one instead: experiments.mine.my_transform",
}

OWN = Kind("a transform", (), lambda v: callable(v) and (lookup.is_users(v) or _is_module(v)))


def entries(spec: Any, key: str = KEY) -> list[tuple[str, Any]]:
    """Return (key, entry) for each entry of `data.augment`. Raises ConfigError for parts of data as keys.

    spec: a list of names and of {name: arguments}; one of them alone; or several in one mapping. key: of it.
    """
    if isinstance(spec, list | tuple):
        return [(f"{key}[{i}]", entry) for i, entry in enumerate(spec)]
    if not isinstance(spec, dict) or "name" in spec or "_target_" in spec:
        return [(key, spec)]
    if part := next((name for name in spec if name in PARTS), None):
        raise ConfigError(
            f"{key}.{part}",
            "data.augment is a list of transforms, which act in training only; what all parts of the data need is a"
            " layer, as {Upsample: {size: [32, 32]}} or {Normalize: {mean: 0.5, std: 0.5}}",
        )
    return [(key if len(spec) == 1 else f"{key}.{name}", {name: value}) for name, value in spec.items()]


def resolve(found: list[tuple[str, Any]]) -> tuple[Bound, ...]:
    """Return transforms, looked up and with their arguments checked. Raises ConfigErrors.

    found: (key, entry) each, see `entries`.
    """
    problems, transforms = Problems(), list[Bound]()
    for key, entry in found:
        with problems.collect():
            transforms.append(_one(entry, key))
    problems.raise_all()
    return tuple(transforms)


def make(bound: Bound) -> Callable[..., Any]:
    """Return the transform: an object that takes an example, or a function with its arguments."""
    if not isinstance(bound.target, type):
        return _Function(bound.target, bound.arguments)
    try:
        made = bound.target(**{name: _value(name, value) for name, value in bound.arguments.items()})
    except Exception as error:
        raise ConfigError(bound.key, f"{bound.target.__name__} refuses its arguments: {brief(error)}") from error
    if isinstance(made, nn.Module) and any(True for _ in made.parameters()):
        raise ConfigError(bound.key, f"{bound.target.__name__} has weights, which nothing would train; make it a layer")
    return made  # type: ignore[no-any-return]


def is_torchvisions(target: Any) -> bool:
    """Return whether a transform is one of torchvision's, for pictures."""
    return str(getattr(target, "__module__", "")).startswith("torchvision.")


def takes_target(transform: Any) -> bool:
    """Return whether code of the user's own takes an example and its target: `def noise(x, target, std=0.1)`."""
    if is_torchvisions(type(transform)):
        return False
    given = transform.arguments if isinstance(transform, _Function) else {}
    target = transform.target if isinstance(transform, _Function) else transform
    if isinstance(target, nn.Module):
        target = target.forward
    free = [
        name
        for name, p in inspect.signature(target).parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and name not in given and p.default is p.empty
    ]
    return len(free) > 1


class _Function:
    """A function of the user's own with its arguments."""

    def __init__(self, target: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self.target, self.arguments = target, arguments

    def __call__(self, *example: Any) -> Any:
        return self.target(*example, **self.arguments)


def _one(entry: Any, key: str) -> Bound:
    name, arguments = _split(entry, key)
    bare = next((name.removeprefix(one) for one in PREFIXES if name.startswith(one)), name)
    if bare.lower() in mixes.NAMES:
        raise ConfigError(key, f"{bare} mixes the examples of a batch, which other transforms cannot hold; expected as"
            " the last entry of data.augment, alone or as {RandomChoice: [MixUp, CutMix]}")  # fmt: skip
    if bare in EVERYWHERE:
        raise ConfigError(key, f"{bare} would act in training alone, and validation and prediction would see other"
            f" numbers; expected {EVERYWHERE[bare]}")  # fmt: skip
    if bare in REFUSED:
        raise ConfigError(key, f"{bare} {REFUSED[bare]}")
    target = lookup.find(name, OWN, key) if "." in bare else lookup.find(bare, _torchvisions(key), key)
    takes = lookup.parameters(target)
    if bare in HOLDERS:
        arguments = _with_inner(arguments, key)
    elif not isinstance(target, type):
        first = [n for n, p in takes.items() if n not in arguments and p.default is p.empty]
        lookup.bind(target, arguments, key, first[:2])
        return Bound(target, arguments, key)
    unseen = ("transforms", *LOOSE.get(bare, ()))
    lookup.bind(target, {n: v for n, v in arguments.items() if n not in unseen}, key, unseen)
    bound = Bound(target, arguments, key)
    make(bound)
    return bound


def _split(entry: Any, key: str) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of `Name`, `{Name: {argument: value}}`, `{Name: value}` or `{name: Name, ...}`."""
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and ("name" in entry or "_target_" in entry):
        return lookup.component(entry, key)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ConfigError(
            key, f"{entry!r} is no transform; expected a name, or {{RandomCrop: {{size: 32, padding: 4}}}}"
        )
    [(name, value)] = entry.items()
    if not isinstance(name, str):
        raise ConfigError(key, f"{name!r} is not the name of a transform")
    if value is None or isinstance(value, dict):
        return name, dict(value or {})
    return name, {_first_argument(name, key): value}


def _first_argument(name: str, key: str) -> str:
    """Return the argument that `{RandomHorizontalFlip: 0.5}` is the value of: the first."""
    bare = next((name.removeprefix(one) for one in PREFIXES if name.startswith(one)), name)
    target = lookup.find(name, OWN, key) if "." in bare else lookup.find(bare, _torchvisions(key), key)
    names = [n for n in lookup.parameters(target) if n not in ("self", "cls")]
    skipped = names if isinstance(target, type) else names[1:]
    if not skipped:
        raise ConfigError(key, f"{bare} takes no arguments; leave them out")
    return skipped[0]


def _torchvisions(key: str) -> Kind:
    """Return the kind of torchvision's transforms, which is imported here."""
    try:
        importlib.import_module(HOME)
    except Exception as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported: {brief(error)}"
        remedy = "pip install 'runner-torch[vision]'"
        if not isinstance(error, ModuleNotFoundError):
            remedy = "install torch and torchvision of one another's versions, from the same index"
        raise ConfigError(key, f"torchvision, whose transforms it names, {why}; {remedy}") from error
    return Kind("a transform", (HOME,), _is_transform)


def _is_transform(value: Any) -> bool:
    from torchvision.transforms import v2

    return isinstance(value, type) and issubclass(value, v2.Transform) and value is not v2.Transform


def _is_module(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__.startswith("torch.nn.")


def _with_inner(arguments: dict[str, Any], key: str) -> dict[str, Any]:
    inner = arguments.get("transforms")
    if not isinstance(inner, list) or not inner:
        raise ConfigError(f"{key}.transforms", "missing; expected a list of transforms, as data.augment is one")
    return {**arguments, "transforms": [_one(entry, f"{key}.transforms[{i}]") for i, entry in enumerate(inner)]}


def _value(name: str, value: Any) -> Any:
    """Return an argument as a transform takes it; YAML has no objects: `interpolation: bilinear`, `dtype: float32`."""
    if isinstance(value, list) and value and isinstance(value[0], Bound):
        return [make(one) for one in value]
    if name == "dtype" and isinstance(value, str):
        return getattr(torch, value.removeprefix("torch."), value)
    if name in ("interpolation", "policy") and isinstance(value, str):
        from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

        return (AutoAugmentPolicy if name == "policy" else InterpolationMode)(value.lower())
    return value
