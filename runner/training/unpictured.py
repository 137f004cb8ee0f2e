"""No plots of a run while it trains; those that there are come from `pictures`."""

from collections.abc import Iterator
from typing import Any

from runner.training.events import Artifacts


class Unpictured:
    """Draws nothing between two steps."""

    def after(self, run: Any, step: int) -> Iterator[Artifacts]:
        """Yield nothing."""
        return iter(())
