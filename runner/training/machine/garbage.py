"""Python's garbage collector, which collects seldom while libraries load and when the process ends.

Loading torch, MLflow and matplotlib makes a million objects that stay. The collector goes through them again and
again: a quarter of the time it takes to load them, and 1.5 s more when the interpreter clears up.
"""

import contextlib
import gc
from collections.abc import Iterator

#: Whether the process is another program's, whose objects are not to be kept.
_left_alone = False
USUAL = gc.get_threshold()
_usual = False


@contextlib.contextmanager
def rare() -> Iterator[None]:
    """Collect seldom until `usual` is called, and not at all at the end of the process, which this block is."""
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.freeze()


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """Change nothing within the block: it is a call in another program's process."""
    global _left_alone
    before, _left_alone = _left_alone, True
    try:
        yield
    finally:
        _left_alone = before


def usual() -> None:
    """Collect as often as Python does, without the objects that are loaded by now."""
    global _usual
    if _left_alone:
        return
    if not _usual:  # in a sweep, what earlier jobs have left is to be collected
        gc.freeze()
    _usual = True
    gc.set_threshold(*USUAL)
