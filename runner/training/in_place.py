"""Whether training may write into the data that it reads, which then has to be given copies of them.

Torch's layers and losses write into what they are given where their argument `inplace` says so, and nowhere else; a
person's own may do anything.
"""

from collections.abc import Iterable
from typing import Any

from torch import nn

#: Packages whose code is known to write into nothing that it is given without being asked to.
KNOWN = ("torch", "torchmetrics", "runner")


def is_own(value: Any) -> bool:
    """Whether the class of `value` is a person's own."""
    return type(value).__module__.partition(".")[0] not in KNOWN


def may_write(modules: Iterable[Any]) -> bool:
    """Whether one of these layers, losses or metrics may write into its input."""
    parts = [part for one in modules for part in (one.modules() if isinstance(one, nn.Module) else [one])]
    return any(is_own(part) or getattr(part, "inplace", False) for part in parts)
