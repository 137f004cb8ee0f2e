"""Other ends for runs than `runner.training.finish`, while something else is measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ending(end: Callable[[Any, Any], Iterator[Any]] = lambda run, draw: iter(())) -> Iterator[None]:
    """Let `end(run, draw)` follow the last step of runs in a block; without it nothing follows: no files, no plots."""
    from runner.training import finish

    usual, finish.finish = finish.finish, end
    try:
        yield
    finally:
        finish.finish = usual
