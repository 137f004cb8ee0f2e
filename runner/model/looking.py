"""The shape that comes out of a layer that looks at its input's numbers, as `pack_padded_sequence` looks at lengths.

The meta device has no numbers, and refuses. Such a layer is made once more, on the processor, and given two examples.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from runner.model.stack import Layer

#: The most parameters of a layer that is made for this.
MOST = 100_000_000
#: Words of torch's errors about tensors without numbers.
REFUSALS = re.compile(r"\b(meta|data-dependent|unbacked)\b", re.IGNORECASE)


def with_numbers(example: Tensor, one: Tensor) -> Tensor:
    """Return a batch on the meta device that remembers one example of it, for layers that look at numbers."""
    example.one = one.detach().clone()  # type: ignore[attr-defined]
    return example


def looks(error: Exception) -> bool:
    """Return whether torch has refused to look at a tensor without numbers."""
    return bool(REFUSALS.search(str(error)))


def output(layer: Layer, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return what the layer gives, on the meta device. Raises what the layer raises.

    Inputs that come from the data without a layer between are those of its first example. Of others, numbers are zeros,
    and one whole number for each example is the longest length among the inputs.
    """
    tensors = [one for one in tree_leaves((inputs, dict(named))) if isinstance(one, Tensor)]
    if layer.parameters > MOST or not tensors:
        raise ValueError(f"it looks at numbers, and is too large to be tried: more than {MOST:,} parameters")
    longest = max((one.shape[1] for one in tensors if one.dim() > 1), default=1)
    size = len(tensors[0])

    def real(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        one = getattr(value, "one", None)
        if one is not None:
            return torch.stack([one, one]).to(value.dtype)
        filled = longest if value.dim() == 1 and not value.is_floating_point() else 0
        return torch.full((2, *value.shape[1:]), filled, dtype=value.dtype)

    def shape(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        first = size if value.shape[:1] == (2,) else value.shape[0]
        return torch.empty((first, *value.shape[1:]), dtype=value.dtype, device="meta")

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        module = layer.make().eval()
        given, by_name = tree_map(real, (tuple(inputs), dict(named)))
        return tree_map(shape, module(*given, **by_name))
