"""What sweeps cost. Prints a table, and exits with 1 when a bar is missed.

    python benchmarks/sweeps.py [--only training] [--pairs N] [--threads N]

training  The training of 64 jobs alone, as one program (`drive_many`) against one by one (`drive`): 64 of
          `linear_regression` (8 learning rates x 8 seeds) and 64 of `digits_mlp` (the same), prepared beforehand,
          nobody told, nothing finished. Validation and its metrics, schedules and the choice of the best are part of
          it. Both sides end with the same weights, up to rounding, or the benchmark stops.

The two sides of a pair follow each other directly and take turns in going first. A ratio is the median of the pairs'
ratios, so that a machine whose speed drifts slows down both sides of it.
"""

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """One line of the table: how many times as fast."""

    what: str
    ours: float  # seconds, median
    other: float
    ratio: float
    bar: float

    @property
    def missed(self) -> bool:
        return self.ratio < self.bar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of each comparison")
    parser.add_argument("--threads", type=int, help="trainer.threads of every job; all there are without it")
    told = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="sweeps-") as folder, contextlib.chdir(folder):
        for name, part in PARTS.items():
            if told.only in (None, name):
                for row in part(told.pairs, told.threads):
                    _show(row, first=not rows)
                    rows.append(row)
    return int(any(row.missed for row in rows))


def _show(row: Row, first: bool) -> None:
    if first:
        print(f"{'':50} {'together':>10} {'one by one':>12} {'gain':>7} {'bar':>7}")
    verdict = "MISSED" if row.missed else "ok"
    print(
        f"{row.what:50} {row.ours:>8.3f} s {row.other:>10.3f} s {row.ratio:>6.2f}x {row.bar:>6.1f}x {verdict}",
        flush=True,
    )


def _compare(what: str, ours: Callable[[], float], other: Callable[[], float], pairs: int, bar: float) -> Row:
    """Both return seconds. One pair before the others warms up what is cached."""
    ours(), other()
    found: list[tuple[float, float]] = []
    for i in range(pairs):
        gc.collect()
        if i % 2:
            second = other()
            found.append((ours(), second))
        else:
            found.append((ours(), other()))
    medians = [statistics.median(side) for side in zip(*found, strict=True)]
    return Row(what, medians[0], medians[1], statistics.median(b / a for a, b in found), bar)


# --- training


def training(pairs: int, threads: int | None) -> Iterator[Row]:
    """As one program against one by one."""
    for experiment, epochs, bar in (("linear_regression", 300, 10.0), ("digits_mlp", 5, 5.0)):
        jobs = _jobs(experiment, epochs, threads)
        _check_same_weights(jobs)
        what = f"training: 64 x {experiment}, {epochs} epochs"
        yield _compare(what, lambda j=jobs: _together(j)[0], lambda j=jobs: _alone(j)[0], pairs, bar)


def _jobs(experiment: str, epochs: int, threads: int | None) -> list[Any]:
    """The settings of 8 learning rates x 8 seeds."""
    settings, found = _settings(experiment), []
    settings.trainer.epochs, settings.trainer.threads = epochs, threads
    for i in range(64):
        job = deepcopy(settings)
        job.seed, job.optimizer["lr"] = i % 8, settings.optimizer["lr"] * 2 ** -(i // 8 / 2)
        found.append(job)
    return found


def _settings(experiment: str) -> Any:
    """The settings that `runner experiments=NAME` trains with, without plots, on the CPU."""
    import hydra
    from omegaconf import OmegaConf

    from runner import cli, places

    os.environ[places.ACTIVE] = "1"
    cli._register()
    with hydra.initialize_config_dir(str(places.conf()), version_base="1.3"):
        config = hydra.compose("config", [f"experiments={experiment}", "device=cpu", "plots=[]"])
    return OmegaConf.to_object(config)


def _prepared(jobs: list[Any]) -> list[Any]:
    from runner.prepare import prepare

    runs = [prepare(job, "benchmark") for job in jobs]
    for run in runs:
        run.finish = lambda: iter(())
        run.close()
    return runs


def _together(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.vectorized import drive_many, groups

    runs = _prepared(jobs)
    begun = time.perf_counter()
    [members], alone = groups(runs)
    errors = drive_many([runs[i] for i in members], [[] for _ in members])
    seconds = time.perf_counter() - begun
    assert not alone
    assert errors == [None] * len(jobs)
    return seconds, runs


def _alone(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.run import drive

    runs = _prepared(jobs)
    begun = time.perf_counter()
    for run in runs:
        drive(run)
    return time.perf_counter() - begun, runs


def _check_same_weights(jobs: list[Any]) -> None:
    """Of some; rounding grows with the steps, and the laws have tests of their own."""
    import torch

    for one, other in zip(_together(jobs)[1][:64:9], _alone(jobs[:64:9])[1], strict=True):
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


PARTS: dict[str, Callable[[int, int | None], Iterator[Row]]] = {"training": training}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
