"""How long `runner --help`, `runner runs` and `runner show last` take beyond the imports that they need.

    python benchmarks/answers.py [rounds]

Each command is a new process in a folder with a store of a few runs. Beside it a process imports what the command
needs, and nothing else. Both are measured in turn; printed are the medians of the processor's time and of the time on
the clock, and what is left between the two.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Command -> what a program needs to answer it, whoever has written it.
STORE = "import mlflow, mlflow.store.tracking.sqlalchemy_store, rich.table, rich.progress"
NEEDS = {
    "--help": "import argparse, yaml",
    "runs": STORE,
    "show last": f"{STORE}, omegaconf",
}
RUNS = 20


def main(rounds: int = 5) -> None:
    """Print a line for each command."""
    folder = Path(tempfile.mkdtemp(prefix="answers-"))
    try:
        _fill(folder)
        print(f"{'command':<12}{'seconds':>26}{'its imports':>26}{'beyond them':>26}")
        for command, imports in NEEDS.items():
            taken: dict[str, list[tuple[float, float]]] = {"command": [], "imports": []}
            for _ in range(rounds + 1):  # the first of them fills the caches of the disk
                taken["command"].append(_time(["-m", "runner", *command.split()], folder))
                taken["imports"].append(_time(["-c", imports], folder))
            both = {name: _medians(times[1:]) for name, times in taken.items()}
            beyond = tuple(a - b for a, b in zip(both["command"], both["imports"], strict=True))
            print(f"{command:<12}" + "".join(_shown(times) for times in (both["command"], both["imports"], beyond)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shown(times: tuple[float, float]) -> str:
    return f"{f'{times[0]:.2f} cpu {times[1]:.2f} clock':>26}"


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(one[0] for one in times), statistics.median(one[1] for one in times)


def _time(words: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds of processor time and of the clock that a new Python takes."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, time.perf_counter() - began


def _fill(folder: Path) -> None:
    """Make a store of RUNS trained runs: one is trained, the others are written."""
    subprocess.run([sys.executable, "-m", "runner", "trainer.epochs=3"], cwd=folder, check=True, capture_output=True)
    from runner.tracking.store import stores

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = stores.open_store(uri)
    group = stores.experiment(client, uri, "others").experiment_id
    for number in range(RUNS):
        run_id = client.create_run(group, start_time=number + 1, run_name=f"run {number}").info.run_id
        for name in ("train/loss", "valid/loss", "epoch"):
            client.log_metric(run_id, name, 1 / (number + 1))
        client.set_terminated(run_id, end_time=number + 2)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
