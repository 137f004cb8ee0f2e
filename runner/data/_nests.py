"""Nests of tensors: a tensor, or a tuple, list or dict of nests, as a batch's inputs and targets may be.

`runner.data.nests` is this module. A single tensor takes the first way out of every function.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from runner.settings.errors import ConfigError

#: A Tensor, or a tuple, list or dict of Nests. (Any, for most code has one tensor before it.)
Nest: TypeAlias = Any


def is_nest(value: Any) -> bool:
    """Return whether `value` is a tensor, or a tuple, list or dict with tensors in it and nothing else."""
    if isinstance(value, Tensor):
        return True
    parts = _parts(value)
    return bool(parts) and all(isinstance(key, str | int) and is_nest(part) for key, part in parts or ())


def named(nest: Nest, name: str = "") -> list[tuple[str, Tensor]]:
    """Return the tensors of a nest with their names, the keys and places on the way to them: image, 0, pair.1.

    name: of the nest itself.
    """
    parts = _parts(nest)
    if parts is None:
        return [(name, nest)]
    return [leaf for key, part in parts for leaf in named(part, f"{name}.{key}" if name else str(key))]


def leaves(nest: Nest) -> list[Tensor]:
    """Return the tensors of a nest, in their order."""
    return [nest] if isinstance(nest, Tensor) else [tensor for _, tensor in named(nest)]


def mapped(function: Callable[..., Any], nest: Nest, *others: Nest) -> Nest:
    """Return a nest of the same form with `function` of each of its tensors.

    others: nests of the same form, whose tensors at the same place are further arguments of `function`.
    Raises ConfigError where their forms differ.
    """
    if isinstance(nest, Tensor):
        return function(nest, *others)
    parts = _parts(nest)
    if parts is None:
        return function(nest, *others)
    for other in others:
        if type(other) is not type(nest) or _keys(other) != _keys(nest):
            raise ConfigError("data", f"holds {described(nest)} and {described(other)}; expected one form for all")
    values = [mapped(function, part, *(other[key] for other in others)) for key, part in parts]
    if isinstance(nest, dict):
        return dict(zip(nest, values, strict=True))
    return type(nest)(*values) if hasattr(nest, "_fields") else type(nest)(values)


def length(nest: Nest, name: str = "x") -> int:
    """Return the number of examples: of every tensor its first dimension.

    name: of the nest, for messages. Raises ConfigError where they differ, with the names of two that do.
    """
    if isinstance(nest, Tensor):
        return len(nest)
    (first, tensor), *others = named(nest, name)
    for other, its in others:
        if len(its) != len(tensor):
            raise ConfigError(
                "data", f"{first} has {len(tensor)} examples and {other} has {len(its)}; expected as many of both"
            )
    return len(tensor)


def picked(nest: Nest, index: Any) -> Nest:
    """Return the examples with these numbers: an int, a slice or an int64 tensor."""
    return nest[index] if isinstance(nest, Tensor) else mapped(lambda tensor: tensor[index], nest)


def split(nest: Nest, size: int) -> Iterator[Nest]:
    """Return views of `size` examples at a time; the last may have fewer."""
    if isinstance(nest, Tensor):
        return iter(torch.split(nest, size))
    starts = range(0, length(nest), size)
    return (mapped(lambda tensor: tensor[start : start + size], nest) for start in starts)  # noqa: B023


def concatenated(parts: Sequence[Nest]) -> Nest:
    """Return the examples of all parts, one part after the other."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return mapped(lambda *tensors: torch.cat(tensors), *parts)


def nbytes(nest: Nest) -> int:
    """Return the bytes of all tensors."""
    return nest.nbytes if isinstance(nest, Tensor) else sum(tensor.nbytes for tensor in leaves(nest))


def described(nest: Any) -> str:
    """Return a nest's form in words for messages: `a tensor (3, 8)`, `{image: (1, 8, 8), text: (5,)}`."""
    if isinstance(nest, Tensor):
        return f"a tensor {tuple(nest.shape)}"
    return _form(nest) if _parts(nest) is not None else f"a {type(nest).__name__}"


def key(nest: Nest) -> Any:
    """Return shapes and types of all tensors, with their places: equal where two nests can stand for each other."""
    if isinstance(nest, Tensor):
        return nest.shape, nest.dtype
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in named(nest))


def noted(nest: Nest) -> dict[str, Any]:
    """Return an example's form as plain values for a record: shape and type, of several tensors by their places."""
    parts = _parts(nest)
    if parts is not None:
        return {type(nest).__name__: {str(key): noted(part) for key, part in parts}}
    dtype = "float32" if nest.is_floating_point() else str(nest.dtype).split(".")[1]
    return {"shape": list(nest.shape), "dtype": dtype}


def of_form(form: dict[str, Any], count: int, device: str = "cpu") -> Nest:
    """Return a batch of `count` examples of a form that `noted` has returned; their values are undefined."""
    if "shape" in form:
        return torch.empty((count, *form["shape"]), dtype=getattr(torch, form["dtype"]), device=device)
    [(kind, parts)] = form.items()
    several = {key: of_form(part, count, device) for key, part in parts.items()}
    return several if kind == "dict" else list(several.values()) if kind == "list" else tuple(several.values())


def _parts(nest: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and parts of a tuple, list or dict; None of anything else."""
    if isinstance(nest, dict):
        return list(nest.items())
    return list(enumerate(nest)) if isinstance(nest, tuple | list) else None


def _keys(nest: Any) -> set[Any]:
    return {key for key, _ in _parts(nest) or ()}


def _form(nest: Any) -> str:
    if isinstance(nest, Tensor):
        return str(tuple(nest.shape))
    if isinstance(nest, dict):
        return f"{{{', '.join(f'{key}: {_form(part)}' for key, part in nest.items())}}}"
    if isinstance(nest, tuple | list):
        return f"({', '.join(map(_form, nest))})"
    return type(nest).__name__
