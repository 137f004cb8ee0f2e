"""How much memory there is, and what a person reads when it was not enough."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from runner.settings.errors import OutOfMemory, first_line

T = TypeVar("T")
#: How torch begins the message of a plain RuntimeError where memory is short: the processor's, Apple's.
SHORT = ("DefaultCPUAllocator: ", "MPS backend out of memory")


def memory(where: torch.device) -> int:
    """Bytes of the device; of the processor, what its container allows."""
    if where.type not in ("cpu", "mps"):  # Apple's shares the processor's
        return int(torch.get_device_module(where).get_device_properties(where).total_memory)
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found = min(found, int(Path(limit).read_text()))
    return found


def told(work: Callable[..., T]) -> Callable[..., T]:
    """`work`, whose first argument is a run or a list of runs; where memory is short it raises OutOfMemory."""

    @functools.wraps(work)
    def worked(runs: Any, *args: Any, **kwargs: Any) -> T:
        try:
            return work(runs, *args, **kwargs)
        except RuntimeError as error:
            if isinstance(error, OutOfMemory) or not is_short(error):
                raise
            run = runs[0] if isinstance(runs, list | tuple) else runs
            raise OutOfMemory(_message(run.settings.trainer.batch_size, len(run.data.train), error)) from error

    return worked


def is_short(error: RuntimeError) -> bool:
    """Whether torch was given no memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in SHORT)


def reason(error: RuntimeError) -> str:
    """What torch says, in its first two sentences."""
    text = first_line(error)
    text = next((text[text.index(words) :] for words in SHORT if words in text), text)
    return ". ".join(text.split(". ")[:2]).rstrip(".")


def _message(batch: int | None, total: int, error: RuntimeError) -> str:
    found = f"trainer.batch_size={batch}" if batch else f"trainer.batch_size=null (all {total:,} examples at once)"
    fewer = max(1, (batch or total) // 2)
    return (
        f"{found}: {reason(error)}; expected a batch that fits: trainer.batch_size={fewer} needs about half, and"
        " with trainer.accumulate=2 a step is as large as before"
    )


def size(count: float) -> str:
    """1234567890 bytes as `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1e6 else f"{count:.1e} TB"
