"""What comes out of a layer while it is planned, also of one that looks at numbers, as `pack_padded_sequence` does.

The meta device has no numbers, and refuses. Such a layer is run on the processor: two examples, weights of zero.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from runner.model import specs
from runner.model.shapes import push
from runner.model.stack import Layer
from runner.model.wires import Inputs
from runner.settings.errors import ConfigError, brief

#: The most parameters of a layer that is made for this.
MOST = 100_000_000
#: Words of torch's errors about tensors without numbers.
REFUSALS = re.compile(r"\b(meta|register_meta|data-dependent|unbacked)\b", re.IGNORECASE)


def with_numbers(example: Tensor, one: Tensor) -> Tensor:
    """Return a batch on the meta device that remembers one example of it, for layers that look at numbers."""
    example.one = one.detach().clone()  # type: ignore[attr-defined]
    return example


def output(layer: Layer, module: nn.Module, inputs: Inputs) -> Any:
    """Push the inputs through the layer's module, on the meta device. Raises ConfigError for what it cannot take."""
    try:
        with torch.no_grad():
            try:
                return push(module.eval(), *inputs.inputs, **inputs.named)
            except Exception as error:
                if not looks(error):
                    raise
                return of_examples(module, inputs.inputs, inputs.named)
    except Exception as error:
        if isinstance(error, TypeError) and re.search(r"forward\(\) missing \d+ required", str(error)):
            raise ConfigError(
                layer.key,
                f"{layer.target.__name__} takes more than one input; {specs.NAME_THEM}; give what only a loss of"
                " (model, batch) calls it with a default, as in forward(self, x, time=None)",
            ) from error
        _refuse_inputs(layer, module, inputs, error)
        shapes = " and ".join(map(specs.shape, inputs.all()))
        raise ConfigError(
            layer.key,
            f"{layer.target.__name__} cannot take {'an input' if len(inputs.all()) == 1 else 'inputs'} of shape"
            f" {shapes}: {brief(error)}{_embedding(inputs, error)}",
        ) from error


def _refuse_inputs(layer: Layer, module: nn.Module, inputs: Inputs, error: Exception) -> None:
    """Raise ConfigError for more inputs than the layer takes, and for a tuple or a dict where it takes a tensor."""
    name, taken = layer.target.__name__, inputs.all()
    match = re.search(r"(\d+) positional arguments? but \d+ were given", str(error))
    if match and isinstance(error, TypeError) and type(module).forward.__qualname__ in str(error):
        most = int(match[1]) - 1
        raise ConfigError(
            layer.key,
            f"{name} takes {'one input' if most == 1 else f'{most} inputs'}, found {len(taken)};"
            " Concat, Add and Multiply combine several",
        ) from error
    if not layer.target.__module__.startswith(("torch.", "runner.")) or not isinstance(
        error, TypeError | AttributeError
    ):
        return
    for one in taken[:1] if isinstance(module, nn.RNNBase) else taken:  # whose state may be a tuple
        if not isinstance(one, Tensor):
            raise ConfigError(layer.key, f"needs a tensor, found {specs.shape(one)}") from error


def _embedding(inputs: Inputs, error: Exception) -> str:
    """Return a remedy for whole numbers where numbers with a decimal point are taken, of which torch says the types."""
    if "type" not in str(error):
        return ""
    tensors = [one for one in inputs.all() if isinstance(one, Tensor)]
    whole = tensors and not any(one.is_floating_point() for one in tensors)
    return "; its input holds whole numbers, which an Embedding before it makes features of" if whole else ""


def looks(error: Exception) -> bool:
    """Return whether torch has refused to look at a tensor without numbers."""
    return bool(REFUSALS.search(str(error)))


def of_examples(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], number: float = 0) -> Any:
    """Return what the layer gives, on the meta device. Raises what the layer raises.

    Inputs that come from the data without a layer between are those of its first example. Of others, numbers with a
    decimal point are all `number` and whole ones 0, but one whole number for each example is the longest length among
    the inputs.
    """
    tensors = [one for one in tree_leaves((inputs, dict(named))) if isinstance(one, Tensor)]
    if sum(p.numel() for p in module.parameters()) > MOST or not tensors:
        raise ValueError(f"it looks at numbers, and is too large to be tried: more than {MOST:,} parameters")
    longest = max((one.shape[1] for one in tensors if one.dim() > 1), default=1)
    size = len(tensors[0])

    def real(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        one = getattr(value, "one", None)
        if one is not None:
            return torch.stack([one, one]).to(value.dtype)
        whole = longest if value.dim() == 1 else 0
        filled = number if value.is_floating_point() else whole
        return torch.full((2, *value.shape[1:]), filled, dtype=value.dtype)

    def shape(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        first = (size,) if value.shape[:1] == (2,) else value.shape[:1]
        return torch.empty((*first, *value.shape[1:]), dtype=value.dtype, device="meta")

    weights = {
        name: torch.zeros(t.shape, dtype=t.dtype) for name, t in (*module.named_parameters(), *module.named_buffers())
    }
    with torch.random.fork_rng(devices=[]):
        given, by_name = tree_map(real, (tuple(inputs), dict(named)))
        return tree_map(shape, functional_call(module, weights, given, by_name))
