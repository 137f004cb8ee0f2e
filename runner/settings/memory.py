"""The memory of a device, and the message for too little of it."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from runner.settings import Trainer
from runner.settings.errors import OutOfMemory, first_line

T = TypeVar("T")
#: How torch begins the message of a plain RuntimeError where memory is short: the processor's, Apple's.
SHORT = ("DefaultCPUAllocator: ", "MPS backend out of memory")


def memory(where: torch.device) -> int:
    """Return the bytes of the device's memory; for the processor, those that its container allows."""
    if where.type not in ("cpu", "mps"):  # Apple's shares the processor's
        return int(torch.get_device_module(where).get_device_properties(where).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    return total


def explained(work: Callable[..., T]) -> Callable[..., T]:
    """Return `work` with OutOfMemory for torch's error; its first argument is a run or a list of runs."""

    @functools.wraps(work)
    def worked(runs: Any, *args: Any, **kwargs: Any) -> T:
        try:
            return work(runs, *args, **kwargs)
        except RuntimeError as error:
            if isinstance(error, OutOfMemory) or not is_short(error):
                raise
            run = runs[0] if isinstance(runs, list | tuple) else runs
            raise OutOfMemory(_message(run.settings.trainer, len(run.data.train), error)) from error

    return worked


def is_short(error: RuntimeError) -> bool:
    """Return whether this is torch's error for too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in SHORT)


def reason(error: RuntimeError) -> str:
    """Return the first two sentences of torch's message."""
    text = first_line(error)
    text = next((text[text.index(words) :] for words in SHORT if words in text), text)
    return ". ".join(text.split(". ")[:2]).rstrip(".")


def _message(trainer: Trainer, total: int, error: RuntimeError) -> str:
    batch = trainer.batch_size
    setting = f"trainer.batch_size={batch}" if batch else f"trainer.batch_size=null (all {total:,} examples at once)"
    fewer = max(1, (batch or total) // 2)
    evaluated = trainer.eval_batch_size
    fewer_evaluated = max(1, evaluated // 2) if isinstance(evaluated, int) else fewer
    others = f"; if it came in a validation, trainer.eval_batch_size={fewer_evaluated}" if evaluated else ""
    return (
        f"{setting}: {reason(error)}; expected a batch that fits: trainer.batch_size={fewer} needs about half, and"
        f" with trainer.accumulate=2 a step is as large as before{others}"
    )


def size(count: float) -> str:
    """Return bytes as text: 1234567890 as `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1e6 else f"{count:.1e} TB"
