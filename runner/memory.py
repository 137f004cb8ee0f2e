"""How much memory there is."""

import contextlib
import os
from pathlib import Path

import torch


def memory(where: torch.device) -> int:
    """Bytes of the device; of the processor, what its container allows."""
    if where.type == "cuda":
        return int(torch.cuda.get_device_properties(where).total_memory)
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found = min(found, int(Path(limit).read_text()))
    return found


def size(count: float) -> str:
    """1234567890 bytes as `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1e6 else f"{count:.1e} TB"
