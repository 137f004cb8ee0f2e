"""Milliseconds for each of many jobs before it trains: `python benchmarks/many_jobs.py [--jobs N] [--alone]`.

N jobs of `digits_mlp` for 5 epochs without plots, 4 learning rates x N / 4 seeds, are made of the words of a command
line, composed, checked, frozen in a manifest, and prepared; all stay prepared, as runs that train as one program.
Printed are the processor's time for each job, part by part, and the memory that is added. With --alone each job is
composed, checked and prepared as if it were the only one.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import composing

RATES = ("0.001", "0.002", "0.003", "0.004")


class Clock:
    """The processor's time and the memory of parts, for each of `jobs` jobs."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.total = jobs, 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure the block and print a line."""
        begun, before = time.process_time(), _bytes()
        yield
        each, more = (time.process_time() - begun) * 1e3 / self.jobs, (_bytes() - before) / 1e6
        self.total += each
        print(f"{name:<34}{each:9.3f} ms{more:9.1f} MB", flush=True)


def main() -> None:
    """Measure all parts, in a folder of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1024, help="a multiple of 4")
    parser.add_argument("--alone", action="store_true", help="each job as if it were the only one")
    arguments = parser.parse_args()
    from runner.training.machine import garbage

    # Python collects garbage as rarely as in each process of `runner`.
    with garbage.rare(), tempfile.TemporaryDirectory(prefix="jobs-") as folder, contextlib.chdir(folder):
        measure(arguments.jobs, arguments.alone)


def measure(count: int, alone: bool) -> None:
    """Print a line for each part, and the sum of all."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from hydra_plugins.runner_sweeper import CheckedSweeper
    from runner.cli import sweep_check
    from runner.cli.compose.alike import Alike
    from runner.sweeps.masked import Masked
    from runner.sweeps.run import job
    from runner.sweeps.run.job import SweepInfo
    from runner.training.checking.known import Known
    from runner.training.vectorized import groups
    from runner.training.vectorized.shared import Shared

    words = ["experiments=digits_mlp", "device=cpu", "trainer.epochs=5", "plots=[]", f"optimizer.lr={','.join(RATES)}"]
    words.append(f"seed=range({count // len(RATES)})")
    info, clock = SweepInfo("0" * 32, "benchmark", "valid/loss", "sqlite:///mlflow.db"), Clock(count)
    with composing.composer() as composer:
        sweep_check.check([["experiments=digits_mlp", "device=cpu"]], composer.compose)  # loads what is loaded once
        with clock.part("jobs of the words"):
            parsed = OverridesParser.create().parse_overrides(words)
            jobs = list(CheckedSweeper(None)._jobs(parsed))
        with clock.part("composed and checked"):
            checked = _checked(sweep_check, jobs, composer, None if alone else Alike())
        with clock.part("manifest"):
            manifest = sweep_check.manifest(checked, jobs, "benchmark", [])
            manifest.text()
        known, shared, masked, runs = Known(), Shared(), Masked(), list[Any]()
        with clock.part("settings and record"):
            configured = [job.configured(one, info, Masked() if alone else masked) for one in manifest.jobs]
        with clock.part("prepared"):
            for one, (settings, _) in zip(manifest.jobs, configured, strict=True):
                runs.append(job.begin(one, settings, info, Known() if alone else known))
                shared.take(runs[-1])
        with clock.part("sorted into groups"):
            together, _ = groups(runs)
        assert [len(group) for group in together] == [count]
        print(f"{'all':<34}{clock.total:9.3f} ms of each of {count:,} jobs")
        for run in runs:
            run.close()


def _checked(sweep_check: Any, jobs: list[list[str]], composer: Any, alike: Any) -> list[Any]:
    if alike is not None:
        return sweep_check.check(jobs, composer.compose, alike=alike)  # type: ignore[no-any-return]
    each = [sweep_check.check([job], composer.compose)[0] for job in jobs]
    for number, one in enumerate(each):
        one.number = number
    return each


def _bytes() -> int:
    """Return the memory of this process that is in use."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1000
    return 0


if __name__ == "__main__":
    main()
