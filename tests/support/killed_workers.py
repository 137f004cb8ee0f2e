"""Workers of sweeps killed from outside at any moment, and what their sweeps say of it: python -m tests.figures workers

Each sweep is resumed afterwards, and must come to what an uninterrupted one has come to.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import fresh
from tests.support.sweeping import STEPS, Family, families, furnish, group, over

#: Sweeps of each launcher, and kills of each sweep.
SWEEPS, KILLS = 6, 4
#: Times that a sweep is resumed at most.
RESUMED = 3
#: launcher -> its words, the number of jobs, and what its workers' command lines hold.
LAUNCHERS = {
    "joblib": (("hydra.launcher.n_jobs=3",), 8, ("popen_loky_posix",)),
    "submitit_local": ((), 4, ("submitit.core._submit", "submitit.local._local")),
}
#: What a sweep says of a job whose process was killed.
SAID = ("was ended by SIGKILL", "ended without a result")


@dataclass
class Count:
    """What is counted over all sweeps."""

    kills: int = 0
    hit: int = 0  # jobs that are not FINISHED after their sweep
    lost: int = 0  # jobs or steps that are missing, or other weights, after the sweep was resumed
    twice: int = 0  # jobs with two runs, and steps recorded twice
    false: list[str] = field(default_factory=list)  # messages that are not true


def figure(folder: Path, store: Path, sweeps: int = SWEEPS) -> str:
    """A line for each launcher."""
    whole = _whole(folder / "whole", store)
    lines = []
    for launcher in LAUNCHERS:
        count, chance = Count(), random.Random(launcher)
        for number in range(sweeps):
            place = folder / f"{launcher}{number}"
            place.mkdir()
            _sweep(launcher, place, store, chance, whole, count)
            shutil.rmtree(place, ignore_errors=True)  # what submitit began may outlive its killed controller
        told = f"{count.lost} lost, {count.twice} twice, {len(count.false)} false messages"
        lines.append(
            f"{launcher}: {count.kills} workers killed in {sweeps} sweeps, {count.hit} jobs hit; {told}"
            + "".join(f"\n  {line}" for line in count.false)
        )
    return "\n".join(lines)


def _sweep(launcher: str, place: Path, store: Path, chance: random.Random, whole: list[str], count: Count) -> None:
    words, jobs, named = LAUNCHERS[launcher]
    shutil.copy(store, place / "mlflow.db")
    furnish(place)
    seeds = ",".join(map(str, range(1, jobs + 1)))
    process = group(
        "-m", "experiments=bad", f"seed={seeds}", "checkpoint.every=1", f"hydra/launcher={launcher}", *words, cwd=place
    )
    killed = _strike(process, named, chance)
    done = over(process, place)
    found, count.kills = families(place), count.kills + len(killed)
    if not found:
        count.lost += jobs
        count.false.append(f"no sweep at all: {done.err[-300:]}")
        return
    _compare(found[0], done.code, jobs, killed, launcher, count)
    for _ in range(RESUMED):  # a job whose controller alone was killed may be at work yet, and is left to its process
        fresh("resume", "last", "hydra/launcher=one_by_one", cwd=place, code=None)
        if all(job.info.status == "FINISHED" for job in families(place)[0].jobs):
            break
        time.sleep(10.0)
    after = families(place)[0]
    numbers = [job.data.tags["sweep.job"] for job in after.jobs]
    count.twice += len(numbers) - len(set(numbers))
    steps = after.steps()
    count.twice += sum(len(own) - len(set(own)) for own in steps)
    count.lost += jobs - len(set(numbers)) + sum(set(own) != set(range(1, STEPS + 1)) for own in steps)
    count.lost += sum(job.info.status != "FINISHED" for job in after.jobs)
    if len(after.jobs) == jobs and all(job.info.status == "FINISHED" for job in after.jobs):
        count.lost += sum(one != other for one, other in zip(after.weights, whole, strict=False))


def _compare(found: Family, code: int, jobs: int, killed: set[int], launcher: str, count: Count) -> None:
    """What the sweep says, and what is so."""
    table = found.table
    wrong = [line for line in table if line["status"] != "FINISHED"]
    count.hit += len(wrong)
    count.lost += jobs - len(table)
    if code != int(bool(wrong)) or found.parent.info.status != ("FAILED" if wrong else "FINISHED"):
        count.false.append(f"exit code {code}, {found.parent.info.status}, {len(wrong)} jobs not FINISHED")
    if len(wrong) > len(killed):
        count.false.append(f"{len(wrong)} jobs not FINISHED after {len(killed)} kills: {wrong}")
    runs = {job.info.run_id: job for job in found.jobs}
    for line in wrong:
        if not any(said in line["reason"] for said in SAID) or line["status"] not in ("KILLED", "FAILED"):
            count.false.append(f"{launcher}: {line}")
    for line in table:
        if line["run_id"] not in runs or runs[line["run_id"]].info.status != line["status"]:
            count.false.append(f"the table and the run differ: {line}")


def _strike(process: "subprocess.Popen[bytes]", named: tuple[str, ...], chance: random.Random) -> set[int]:
    """Kill workers as they come, each after a random while. Gives their ids."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < KILLS:
        time.sleep(chance.uniform(0.0, 4.0))
        alive = [pid for pid in _below(process.pid) if pid not in killed and any(n in _command(pid) for n in named)]
        if alive:
            pid = chance.choice(alive)
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except ProcessLookupError:
                continue
    return killed


def _below(pid: int) -> list[int]:
    """Processes that a process has begun, and those that they have."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue
    return [*found, *(further for child in found for further in _below(child))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _whole(folder: Path, store: Path) -> list[str]:
    """The weights of jobs that nothing has interrupted."""
    folder.mkdir()
    shutil.copy(store, folder / "mlflow.db")
    furnish(folder)
    most = max(jobs for _, jobs, _ in LAUNCHERS.values())
    fresh("-m", "experiments=bad", f"seed={','.join(map(str, range(1, most + 1)))}", cwd=folder)
    return families(folder)[0].weights
