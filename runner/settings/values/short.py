"""Components in short: a class by its name alone, `Adam`, or as layers are written, `{Adam: {lr: 0.1}}`."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from runner.settings import Model

#: A class. A preset's name is no class's.
CLASS = re.compile(r"[A-Z]\w*|[A-Za-z_]\w*(\.\w+)+")
#: Keys of a component's class.
NAMES = ("name", "_target_")
#: Keys below which components stand that may be a class's name alone.
HOLDERS = ("loss", "metrics", "scheduler.schedulers", "data.augment")
#: Keys of `model`.
MODEL = tuple(field.name for field in dataclasses.fields(Model))


def model(spec: Any) -> dict[str, Any] | None:
    """Return `{layers: [LAYER]}` for a model that is one class, `{name: experiments.mine.Net, width: 4}`.

    Its class may be a key too, as of a layer, or its name alone. None for another model, as for a preset's name.
    """
    if isinstance(spec, str):
        return {"layers": [spec]} if CLASS.fullmatch(spec) else None
    if not isinstance(spec, dict) or "layers" in spec:
        return None
    layer = {key: value for key, value in spec.items() if key not in MODEL}
    words = [layer[name] for name in NAMES if name in layer] or [key for key in layer if len(layer) == 1]
    word = str(words[0]) if words else ""
    if not CLASS.fullmatch(word) or word.lower() in MODEL:
        return None
    return {"layers": [layer], **{key: value for key, value in spec.items() if key in MODEL}}


def named(spec: Any) -> dict[str, Any] | None:
    """Return `{name: Adam, lr: 0.1}` for a component that is written as layers are, `Adam` or `{Adam: {lr: 0.1}}`.

    None for another one, as for several by their names: `{digit: {name: MSELoss}}`, `{digit: {MSELoss: {}}}`.
    """
    if isinstance(spec, str):
        return {"name": spec} if CLASS.fullmatch(spec) else None
    if not isinstance(spec, dict) or len(spec) != 1:
        return None
    [(name, arguments)] = spec.items()
    if not isinstance(name, str) or not CLASS.fullmatch(name) or not isinstance(arguments, dict | None):
        return None
    inner = [key for key, value in (arguments or {}).items() if isinstance(value, dict | None)]
    if {*NAMES} & set(arguments or {}) or any(CLASS.fullmatch(str(key)) for key in inner):
        return None
    return {"name": name, **(arguments or {})}


def extended(key: str, name: Any, former: Any, new: Iterable[Any]) -> dict[str, Any] | None:
    """Return a component in short as the mapping that other values are merged into; None where it is no such thing.

    key: of what holds it, by `name`. new: the keys that are merged into it: arguments, or the class's own name.
    """
    keys = [str(one) for one in new]
    if not f"{key}.".startswith(tuple(f"{holder}." for holder in HOLDERS)) or name in NAMES or {*NAMES} & {*keys}:
        return None
    if isinstance(former, str):
        if not CLASS.fullmatch(former) or (keys != [former] and any(map(CLASS.fullmatch, keys))):
            return None  # another class
        return {former: {}} if keys == [former] else {"name": former}
    if key.startswith("metrics") or any(map(CLASS.fullmatch, keys)):  # metrics.digit.f1=F1Score adds one
        return None
    return named(former)


def are_losses(spec: dict[Any, Any]) -> bool:
    """Return whether a mapping has a loss for each of some names of outputs, and nothing else."""
    return bool(spec) and not any(name in spec for name in NAMES) and all(map(is_loss, spec.values()))


def is_loss(value: Any) -> bool:
    """Return whether a value is a loss's name, or a mapping with one, and no argument such as `mean`."""
    if isinstance(value, str):
        return bool(CLASS.fullmatch(value))
    keys = list(value) if isinstance(value, dict) else []
    return any(name in keys for name in NAMES) or (len(keys) == 1 and is_loss(str(keys[0])))
