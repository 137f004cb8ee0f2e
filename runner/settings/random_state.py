"""Where random numbers start, and what else decides the last bits."""

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from runner.settings import Settings, Trainer
from runner.settings.values.ranges import TRAINER

#: What torch starts with; a run that asks for another number leaves it to the next run of a sweep.
THREADS = torch.get_num_threads()
#: The value of trainer.threads that stands for a number chosen by the size of a step.
AUTO = "auto"


def seed(settings: Settings, threads: int | None = None) -> None:
    """Start every random generator from the run's seed, and fix what else decides the last bits.

    threads: that the run is trained with, once it is known.
    """
    start(settings.seed)
    torch.manual_seed(settings.seed)  # those of other devices too
    restrain(settings.trainer, threads)


@contextlib.contextmanager
def started(number: int) -> Iterator[None]:
    """Start the generators of the processor around a block; after it they go on as if it had not been."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    start(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def start(number: int) -> None:
    """Start the generators of the processor from `number`."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)


def restrain(trainer: Trainer, threads: int | None = None) -> None:
    """Fix what else decides the last bits: the choice of algorithms, and the number of threads.

    Until it is known what `auto` stands for it is one: data must not depend on the machine that reads them.
    """
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:  # saying it again costs 2.5 s
        torch.use_deterministic_algorithms(trainer.deterministic)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(threads or said(trainer) or 1)


def said(trainer: Trainer) -> int | None:
    """The number that trainer.threads says; None where it is `auto`."""
    if trainer.threads == AUTO:
        return None
    return THREADS if trainer.threads is None else int(trainer.threads)


def recorded(trainer: Trainer, tags: dict[str, str]) -> int | None:
    """The number that a recorded run was trained with: of its configuration, or else of its tag `threads`."""
    if isinstance(trainer.threads, int):
        return trainer.threads
    return tagged(tags)


def tagged(tags: dict[str, str]) -> int | None:
    """The number in the tag `threads`; None for what could not have been said in a configuration either."""
    text = tags.get("threads", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    return number if TRAINER["threads"].low <= number <= TRAINER["threads"].high else None
