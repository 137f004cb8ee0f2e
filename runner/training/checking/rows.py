"""Indices that the Embeddings of a model take, looked at in every batch that goes through it outside of a training."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from runner.data import nests
from runner.model import host
from runner.model.specs import INDEXED
from runner.settings.errors import ConfigError


@contextlib.contextmanager
def checked(model: nn.Module, key: str, where: str = "") -> Iterator[None]:
    """Raise ConfigError within the block for an index that is no row of the Embedding that gets it.

    torch's own error says neither which index nor which rows, and comes late on a GPU.
    key: of the configuration, where the data come from. where: words for the data, as in "the test data".
    """
    batches = _Batches(key, where)
    each = [_Rows(batches, name, one) for name, one in model.named_modules() if isinstance(one, INDEXED)]
    hooks = [model.register_forward_pre_hook(batches.begin)] if each else []
    hooks += [rows.module.register_forward_pre_hook(rows.check, with_kwargs=True) for rows in each]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Batches:
    """The batch that goes through the model, and how many examples have gone before it."""

    def __init__(self, key: str, where: str) -> None:
        self.key, self.where, self.before = key, where, 0
        self.x: Any = None

    def begin(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.before += 0 if self.x is None else nests.length(self.x)
        self.x = inputs[0] if inputs else None

    def holding(self, value: float) -> str:
        """Return the name of the input that holds the value, and the place in it."""
        for name, one in [] if self.x is None else nests.named(self.x):
            if len(places := (one == value).nonzero()):
                first, *others = map(int, host.numbers(places[0]))
                place = f"{value:.0f} at {[self.before + first, *others]}"
                subject = " ".join(word for word in (self.where, repr(name) if name else "") if word)
                return f"{subject} holds {place}".lstrip()
        return f"{self.where or 'an example'} comes to {value:.0f} there"


class _Rows:
    """The rows of one Embedding."""

    def __init__(self, batches: _Batches, name: str, module: nn.Module) -> None:
        self.batches, self.name, self.module = batches, name, module
        self.count = int(module.num_embeddings)  # type: ignore[arg-type]

    def check(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = inputs[0] if inputs else named.get("input")
        if not isinstance(x, Tensor) or x.is_floating_point() or not x.numel():
            return
        low, high = map(host.number, x.aminmax())
        if low < 0 or high >= self.count:
            raise ConfigError(
                self.batches.key,
                f"{self.batches.holding(high if high >= self.count else low)}, and layer {self.name or 'of all'!r},"
                f" {type(module).__name__}, has {self.count:,} rows; expected indices from 0 to {self.count - 1}",
            )
