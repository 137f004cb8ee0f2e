"""The number of the processor's cores that this process may use, and the waiting of OpenMP's threads."""

import os
from pathlib import Path

#: With these variables, waiting threads sleep after some microseconds. By default they spin for milliseconds on cores
#: that others need, and a training beside another one takes ten times as long. The first is standard OpenMP, the second
#: belongs to the OpenMP of torch's wheels for Linux, where it overrides the first.
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"}
#: A user who sets one of these variables decides alone.
BY_USER = (*WAITING, "KMP_BLOCKTIME")

_most: int | None = None


def let_waiting_threads_sleep() -> None:
    """Set environment variables of this process and those that it starts; effective only before torch is loaded."""
    if not any(name in os.environ for name in BY_USER):
        os.environ.update(WAITING)


def limit(most: int | None) -> None:
    """Limit `share` to `most` cores, in a process in which a launcher runs one of several jobs at once."""
    global _most
    _most = most


def share() -> int:
    """Return the cores for this process, at least 1: the least of the limits of all that set one.

    These are the process's affinity, its container, SLURM, a launcher, and the user by OMP_NUM_THREADS, of which the
    first number counts where it is a list.
    """
    limits = [
        affinity(),
        quota(),
        _most,
        *map(_number, ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")),
    ]
    return max(1, min(n for n in limits if n is not None))


def affinity() -> int:
    """Return the number of cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> int | None:
    """Return the cores' worth of time that the container or service may use, rounded down, at least 1; None: no limit.

    root: the file system that is read.
    """
    quotas = []
    for controllers, path in _groups(root / "proc/self/cgroup"):
        top = root / "sys/fs/cgroup" / controllers
        # Limits of all groups above apply as well. In a container, the path may be one of the host.
        for place in (top / path, *(top / path).parents, top):
            if place == top or top in place.parents:
                quotas.append(_quota(place))
    limits = [n for n in quotas if n is not None]
    return max(1, int(min(limits))) if limits else None


def each(launcher: str, values: dict[str, object], jobs: int) -> int | None:
    """Return the cores for each of the jobs that a launcher of Hydra's runs at once; None: those of its process.

    launcher: its name, as in hydra/launcher=NAME. values: its settings. jobs: their number.
    """
    if launcher == "joblib":
        n = _whole(values.get("n_jobs")) or -1
        at_once = min(jobs, n if n > 0 else max(1, affinity() + 1 + n))
        return max(1, share() // max(1, at_once))
    if launcher == "submitit_local":  # which starts all of them, whatever cores there are
        return min(_whole(values.get("cpus_per_task")) or share(), max(1, share() // max(1, jobs)))
    if launcher.startswith("submitit"):
        return _whole(values.get("cpus_per_task"))
    if launcher.startswith("ray"):
        remote = _below(_below(values, "ray"), "remote")
        return _whole(remote.get("num_cpus")) or 1
    return None


def _groups(file: Path) -> list[tuple[str, str]]:
    """Return (folder of the controllers, path of the group) of cgroup 2, and of the processor in cgroup 1."""
    try:
        lines = [line.split(":", 2) for line in file.read_text().splitlines()]
    except OSError:
        lines = []
    mine = [(names, path.strip("/")) for _, names, path in lines if not names or "cpu" in names.split(",")]
    return [*mine, ("", ""), ("cpu", "")]


def _quota(place: Path) -> float | None:
    try:
        if (place / "cpu.max").exists():
            most, period = (place / "cpu.max").read_text().split()
        else:
            most, period = ((place / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(most) / int(period) if most != "max" and int(most) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _number(name: str) -> int | None:
    text = os.environ.get(name, "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _below(values: object, key: str) -> dict[str, object]:
    inner = values.get(key) if isinstance(values, dict) else None
    return inner if isinstance(inner, dict) else {}
