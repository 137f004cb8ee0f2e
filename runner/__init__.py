"""A configuration-driven experiment runner for PyTorch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load(
    run: str, uri: str | None = None, checkpoint: str = "best", raw: bool = True, *, code: str = "current"
) -> "nn.Module":
    """The model of a recorded run, ready to use; see `runner.ready.load`. Importing `runner` alone loads no torch."""
    from runner import ready

    return ready.load(run, uri, checkpoint, raw, code=code)
