"""Seeds of the random generators, and the other settings that decide the last bits of a result."""

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from runner.settings import Settings, Trainer
from runner.settings.values.ranges import TRAINER

#: torch's own number at the start; a run with another number leaves that to the next run of a sweep.
THREADS = torch.get_num_threads()
#: How fp32 is multiplied now, by trainer.matmul_precision, and what torch's two settings were before.
_multiplied: dict[str, Any] = {"as": None, "before": None}
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
    """Set the choice of algorithms, the products of fp32 and the number of threads, which decide the last bits too.

    Before `auto` is settled the number is one: data must not depend on the machine that reads them.
    """
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:  # to set it again takes 2.5 s
        torch.use_deterministic_algorithms(trainer.deterministic)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(threads or said(trainer) or 1)
    _multiply(trainer.matmul_precision)


def _multiply(precision: str | None) -> None:
    """Set how fp32 is multiplied, in matrices and in cuDNN's convolutions; None: as before the first run that set it.

    Only torch's older names are used: what was set by a mix of these and of `fp32_precision` it refuses to read, and
    its compiler reads the older ones. A process whose runs set nothing may use either.
    """
    if precision == _multiplied["as"]:
        return
    if _multiplied["as"] is None:
        _multiplied["before"] = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    matrices, convolutions = _multiplied["before"] if precision is None else (precision, precision != "highest")
    torch.set_float32_matmul_precision(matrices)
    torch.backends.cudnn.allow_tf32 = convolutions
    _multiplied["as"] = precision


def multiply_as_before() -> None:
    """Set how fp32 is multiplied as it was before the first run that set it."""
    _multiply(None)


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
