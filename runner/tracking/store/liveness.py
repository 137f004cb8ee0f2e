"""Which process a run belongs to, and whether that process is still there."""

import contextlib
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any


def process() -> dict[str, Any]:
    """This process: host, pid, start (opaque, never that of another process with the same pid) and machine."""
    return {"host": platform.node(), "pid": os.getpid(), "start": _start(os.getpid()), "machine": _machine()}


def is_gone(process: dict[str, Any]) -> bool | None:
    """Whether it has ended, be it only as a zombie; None for a process that cannot be seen from here.

    A process that is stopped or slow is not gone.
    """
    if process.get("machine") != _machine() or sys.platform == "win32":
        return None
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # of another user; what /proc says of it may be hidden
        pass
    start = _start(process["pid"])
    return start is not None and (start == "" or start != process.get("start"))


@cache
def _machine() -> str:
    """Where a pid means the same process: one boot of one machine, and one container on it."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def _start(pid: int) -> str | None:
    """When the process started; "" if it has ended; None if that cannot be known."""
    with contextlib.suppress(OSError):
        # The name, in parentheses, may hold anything. After it: state, 18 numbers, ticks since boot (man 5 proc).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists() or sys.platform == "win32":
        return None
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, start = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else start.strip() or None
