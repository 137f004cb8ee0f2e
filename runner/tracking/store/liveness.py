"""The process that a run belongs to, and whether it still exists."""

import contextlib
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any


def process() -> dict[str, Any]:
    """Return what identifies this process: host, pid, start and machine.

    start: opaque text, which no other process with the same pid has. machine: one boot of one machine or container.
    """
    return {"host": platform.node(), "pid": os.getpid(), "start": _start(os.getpid()), "machine": _machine()}


def is_gone(process: dict[str, Any]) -> bool | None:
    """Return whether a process has ended; None for one that cannot be seen from this machine.

    process: as `process()` described it. A zombie has ended; a process that is stopped or slow has not.
    """
    if process.get("machine") != _machine() or sys.platform == "win32":
        return None
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # of another user; /proc may hide it
        pass
    start = _start(process["pid"])
    return start is not None and (start == "" or start != process.get("start"))


@cache
def _machine() -> str:
    """Return the name of all processes for which a pid means the same: one boot of a machine, one container on it."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def _start(pid: int) -> str | None:
    """Return when the process started, as opaque text; "" if it has ended; None if that cannot be known."""
    with contextlib.suppress(OSError):
        # The name, in parentheses, may hold anything. After it: state, 18 numbers, ticks since boot (man 5 proc).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists() or sys.platform == "win32":
        return None
    ps = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, start = ps.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else start.strip() or None
