"""The shape and type of a batch's inputs, as the record of a run holds them."""

from typing import Any

import torch
from torch import Tensor

from runner.data import _nests as nests
from runner.data._nests import Nest


def noted(x: Nest) -> dict[str, Any]:
    """Return an example in plain values: `{shape: [1, 8, 8], dtype: float32}`, `{dict: {NAME: ...}}`, `{tuple: [...]}`.

    Every floating-point type is float32, as the plan of a model is of that.
    """
    if isinstance(x, dict):
        return {"dict": {str(name): noted(part) for name, part in x.items()}}
    if isinstance(x, tuple | list):
        return {"tuple": [noted(part) for part in x]}
    x = torch.as_tensor(x)
    return {"shape": list(x.shape), "dtype": "float32" if x.is_floating_point() else str(x.dtype).split(".")[1]}


def batch(example: dict[str, Any], device: str = "cpu", size: int = 2) -> Nest:
    """Return a batch of noted examples; values are undefined."""
    if "dict" in example:
        return {name: batch(part, device, size) for name, part in example["dict"].items()}
    if "tuple" in example:
        return tuple(batch(part, device, size) for part in example["tuple"])
    return torch.empty((size, *example["shape"]), dtype=getattr(torch, example["dtype"]), device=device)


def named(example: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the noted tensors by their names, as `nests.named` gives these; of a single one the name is ""."""
    if "dict" in example or "tuple" in example:
        parts = example["dict"].items() if "dict" in example else enumerate(example["tuple"])
        return {f"{name}.{inner}".removesuffix("."): one for name, part in parts for inner, one in named(part).items()}
    return {"": example}


def nest(example: dict[str, Any], tensors: dict[str, Tensor], name: str = "") -> Nest:
    """Return tensors by their names in the form of the example."""
    if "dict" in example:
        return {one: nest(part, tensors, f"{name}.{one}".strip(".")) for one, part in example["dict"].items()}
    if "tuple" in example:
        return tuple(nest(part, tensors, f"{name}.{i}".strip(".")) for i, part in enumerate(example["tuple"]))
    return tensors[name]


def described(example: dict[str, Any]) -> str:
    """Return its form in words."""
    return nests.described(batch(example, "meta", 0)) if "" not in named(example) else str(example["shape"])
