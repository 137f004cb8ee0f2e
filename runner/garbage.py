"""Python's garbage collector, out of the way while libraries load and when the process ends.

Loading torch, MLflow and matplotlib makes a million objects that stay. The collector looks through them again and
again: a quarter of the time it takes to load them, and 1.5 s more when the interpreter clears up.
"""

import contextlib
import gc
from collections.abc import Iterator

USUAL = gc.get_threshold()


@contextlib.contextmanager
def rare() -> Iterator[None]:
    """Collect seldom until `usual` is called, and not at all at the end of the process, which this block is."""
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.freeze()


def usual() -> None:
    """Collect as often as Python does, leaving out what is loaded by now."""
    if not gc.get_freeze_count():  # a sweep's next job must not keep what the one before has left behind
        gc.freeze()
    gc.set_threshold(*USUAL)
