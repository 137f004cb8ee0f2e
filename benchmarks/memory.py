"""The memory that the runner takes, and what it writes with each checkpoint. Prints a table.

    python benchmarks/memory.py [--only PART] [--steps N]

history   A million steps recorded: the growth of the process, the bytes of a checkpoint, and the time to write it.
stacked   Eight jobs of a sweep that read the same data, trained as one program for a few steps: the growth of the
          process, in megabytes and in copies of the data. `alone`: one job.
whole     A run that trains on all of its data in one batch: the same.
predict   A run on data that are read from a disk, at its end: the size of the inputs of the split, and the largest
          memory of the process, which writes `predictions.npy` and draws plots.
table     A CSV file of so many columns, and one column of many rows with a single text at its end: seconds.

Each number is the largest resident memory of a process of its own. There are no bars: tests hold the laws behind the
numbers, in tests/training/test_history.py, tests/training/test_one_copy.py and tests/data/test_bombs.py.
"""

import argparse
import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))
MB = 1e6


def main() -> int:
    """Run each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of `history`")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for line in PARTS[arguments.here](arguments.steps):
                print(line, flush=True)
        return 0
    for part in [arguments.only] if arguments.only else PARTS:
        command = [sys.executable, str(HERE), "--here", part, "--steps", str(arguments.steps)]
        # Freed memory goes back to the system at once, so that it is not counted.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        for line in done.stdout.splitlines() if done.returncode == 0 else [done.stderr.strip()[-500:]]:
            print(f"{part:10}{line}", flush=True)
    return 0


class Growth:
    """The growth of the process since this object was made."""

    def __init__(self) -> None:
        self.before = _resident()

    @property
    def most(self) -> float:
        """Bytes of growth at the largest."""
        return max(0, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before)

    @property
    def now(self) -> float:
        """Bytes of growth now."""
        return _resident() - self.before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def history(steps: int) -> list[str]:
    """Record so many steps."""
    import torch

    from runner.training.events import Step
    from runner.training.state.history import History

    losses, loss, growth = History(), torch.tensor(0.5), Growth()
    for step in range(1, steps + 1):
        losses.record(Step(step, loss, 1.0 / step))
        if step % 50_000 == 0:
            _checkpoint(losses)
    begun = time.perf_counter()
    size = _checkpoint(losses)
    return [
        f"{steps:,} steps: {growth.now / MB:.1f} MB in memory",
        f"{size / MB:.3f} MB in each checkpoint, {time.perf_counter() - begun:.3f} s",
    ]


def _checkpoint(losses: Any) -> int:
    """Write the history as a checkpoint does, and return the bytes that each checkpoint writes."""
    import torch

    with contextlib.suppress(ImportError):
        from runner.training.state import pieces

        pieces.write(losses, Path(tempfile.mkdtemp(dir=".")))
    buffer = io.BytesIO()
    torch.save(losses.state_dict(), buffer)
    return len(buffer.getbuffer())


def _prepared(path: str, jobs: int, **trainer: Any) -> Any:
    from runner.settings import Model, Settings, Trainer
    from runner.training.prepare import prepare

    for job in range(jobs):
        yield prepare(
            Settings(
                data={"name": "arrays", "path": path},
                model=Model(layers=[{"Linear": 4}]),
                loss={"name": "MSELoss"},
                optimizer={"name": "SGD", "lr": 0.001 * (job + 1)},
                plots=[],
                trainer=Trainer(**{"epochs": 3, "threads": 1, **trainer}),
            ),
            "memory",
        )


def _arrays(rows: int = 26_000, columns: int = 250) -> float:
    """Write arrays, of 26 MB by default, and return their bytes."""
    import numpy as np

    x = np.random.default_rng(0).random((rows, columns), dtype=np.float32)
    np.savez("xy.npz", x=x, y=x[:, :4].copy())
    return x.nbytes + x[:, :4].nbytes


def _warm() -> None:
    """Load and allocate once what is not to be counted."""
    _arrays(60, 10)
    from runner.training.vectorized import drive_many

    drive_many(list(_prepared("xy.npz", 2)), [[], []])


def stacked(steps: int) -> list[str]:
    """Train eight jobs as one program."""
    return _together(8)


def alone(steps: int) -> list[str]:
    """Train one job in the same way."""
    return _together(1)


def _together(jobs: int) -> list[str]:
    from runner.training.vectorized import drive_many

    _warm()
    size, growth, runs = _arrays(), Growth(), []
    with contextlib.suppress(ImportError):
        from runner.training.vectorized.shared import Shared

        shared = Shared()
    for run in _prepared("xy.npz", jobs, batch_size=2000):
        with contextlib.suppress(NameError):
            shared.take(run)
        runs.append(run)
    most = []
    drive_many(runs, [[] for _ in runs], stop=lambda: most.append(growth.now))
    held = max(most)
    return [f"{jobs} jobs, {size / MB:.0f} MB of data: +{held / MB:.0f} MB, {held / size:.1f} times the data"]


def whole(steps: int) -> list[str]:
    """Train on all data in one batch."""
    from runner.training.drive import drive

    _warm()
    size, growth = _arrays(), Growth()
    [run] = _prepared("xy.npz", 1)
    with contextlib.suppress(ImportError, AttributeError):
        from runner.training.parts import data_cache

        data_cache.clear()
    most = []
    drive(run, stop=lambda: most.append(growth.now))
    return [f"{size / MB:.0f} MB of data in one batch: +{max(most) / MB:.0f} MB, {max(most) / size:.1f} times"]


def predict(steps: int) -> list[str]:
    """Write predictions for images that are read from a disk."""
    import numpy as np
    from PIL import Image

    from runner.settings import Model, Settings, Trainer
    from runner.training.drive import drive
    from runner.training.prepare import prepare

    for kind in ("cat", "dog"):
        Path("photos", kind).mkdir(parents=True)
        for number in range(300):
            Image.fromarray(np.full((128, 128, 3), number % 255, np.uint8)).save(f"photos/{kind}/{number}.png")
    run = prepare(
        Settings(
            data={"name": "images", "path": "photos", "in_memory": False, "valid": 0.9, "test": 0.0},
            model=Model(layers=[{"MaxPool2d": 8}, "Flatten", {"Linear": 2}]),
            loss={"name": "CrossEntropyLoss"},
            optimizer={"name": "SGD", "lr": 0.001},
            plots=["confusion_matrix", "examples"],
            trainer=Trainer(epochs=1, threads=1, batch_size=8),
        ),
        "memory",
    )
    drive(run)
    size = 540 * 3 * 128 * 128 * 4 / MB
    return [f"inputs of {size:.0f} MB on a disk: the process was {_peak():.0f} MB at its largest"]


def _peak() -> float:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def table(steps: int) -> list[str]:
    """Read wide tables, and a long one with a text among its numbers."""
    from runner.data.table import table as read
    from runner.settings.errors import ConfigError

    lines = []
    for columns in (10_000, 20_000, 40_000):
        names = ",".join(f"c{i}" for i in range(columns))
        rows = ("\n".join(",".join(str((i * j) % 97 + 0.5) for i in range(columns)) for j in range(1, 8))) + "\n"
        Path("wide.csv").write_text(f"{names}\n{rows}")
        begun = time.perf_counter()
        read("wide.csv", "c0", valid=0, test=0)
        lines.append(f"{columns:,} columns of 7 rows: {time.perf_counter() - begun:.1f} s")
    Path("long.csv").write_text("a,b\n" + "\n".join(f"{i}.5,{i}" for i in range(999_999)) + "\n1,oops\n")
    begun = time.perf_counter()
    with contextlib.suppress(ConfigError):
        read("long.csv", "a")
    return [*lines, f"a text in row 1,000,000 of numbers: {time.perf_counter() - begun:.1f} s"]


PARTS = {"history": history, "alone": alone, "stacked": stacked, "whole": whole, "predict": predict, "table": table}

if __name__ == "__main__":
    sys.exit(main())
