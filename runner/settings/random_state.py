"""Seeds of the random generators, and the other settings that decide the last bits of a result."""

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from runner.settings import Settings, Trainer
from runner.settings.values.ranges import TRAINER

#: torch's own number at the start; a run with another number leaves that to the next run of a sweep.
THREADS = torch.get_num_threads()
#: The value of trainer.threads that stands for a number chosen by the size of a step.
AUTO = "auto"


def seed(settings: Settings, threads: int | None = None) -> None:
    """Start every random generator from the run's seed, and fix what else decides the last bits.

    threads: those of the training; None before `auto` is settled.
    """
    start(settings.seed)
    if torch.accelerator.is_available():  # without one, torch would note for a third of a millisecond where it is asked
        torch.manual_seed(settings.seed)  # those of other devices too
    restrain(settings.trainer, threads)


@contextlib.contextmanager
def started(number: int) -> Iterator[None]:
    """Start the generators of the processor around a block; after it they continue as if it had not run."""
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
    """Set the choice of algorithms and the number of threads, which decide the last bits too.

    Before `auto` is settled the number is one: data must not depend on the machine that reads them.
    """
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:  # to set it again takes 2.5 s
        torch.use_deterministic_algorithms(trainer.deterministic)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(threads or said(trainer) or 1)


def said(trainer: Trainer) -> int | None:
    """Return the number of trainer.threads; None for `auto`."""
    if trainer.threads == AUTO:
        return None
    return THREADS if trainer.threads is None else int(trainer.threads)


def recorded(trainer: Trainer, tags: dict[str, str]) -> int | None:
    """Return the threads that a recorded run was trained with: of its configuration, or of its tag `threads`."""
    if isinstance(trainer.threads, int):
        return trainer.threads
    return tagged(tags)


def tagged(tags: dict[str, str]) -> int | None:
    """Return the number in the tag `threads`; None for one that trainer.threads could not have."""
    text = tags.get("threads", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    return number if TRAINER["threads"].low <= number <= TRAINER["threads"].high else None
