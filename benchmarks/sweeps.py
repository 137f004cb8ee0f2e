"""The cost and speed of sweeps. Prints a table, and exits with 1 if a bar is missed.

    python benchmarks/sweeps.py [--only training|whole|jobs|peers|store] [--pairs N] [--threads N]

training  The training of 64 jobs alone, as one program (`drive_many`) against one by one (`drive`): 64 of
          `linear_regression` (8 learning rates x 8 seeds) and 64 of `digits_mlp` (the same), prepared beforehand,
          without observers and without the end of a run. Validation and its metrics, schedules and the choice of the
          best are part of it. Both sides end with the same weights, up to rounding, or the benchmark stops.
whole     The whole sweep of 64 jobs of `digits_mlp` at 100 epochs in this process, recorded in MLflow: composed,
          checked, trained, recorded, plotted, closed. hydra/launcher=vectorized against hydra/launcher=basic, Hydra's
          own, and for information against hydra/launcher=one_by_one, which closes a run while the next one trains.
jobs      The cost of one of 64 jobs of `linear_regression` beside its training (composing, checking,
          recording, plots, checkpoints, closing, and its share of the sweep's own run), against MLflow's own calls
          for the same tags, params, metric values and files with the same plots drawn and written.
peers     The same 16 jobs with Lightning and its MLFlowLogger, every step logged (benchmarks/in_lightning.py), in this
          process: `linear_regression` at 300 epochs, `digits_mlp` at 5. Lightning draws no plots of a run, so none are
          drawn here; with them for information. Needs runner-torch[bench].
store     The records of 1,024 runs of `digits_mlp`, 100 steps each, that were trained beforehand: opened, delivered
          with checkpoints, predictions and test values, and closed, in a new SQLite store (benchmarks/store.py). In
          seconds, with a bar in seconds; what computing the predictions and test values takes is a part of it, and is
          named. So is the most memory that the process has had.

The two sides of a pair follow each other directly and take turns in going first (benchmarks/pairs.py). A ratio is how
many times as fast ours is; of `jobs`, how many times as much it costs.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import composing, ends
from benchmarks import store as records
from benchmarks import whole as sweeps
from benchmarks.pairs import Row, compare, table


def main() -> int:
    """Run the parts that were asked for, in a folder of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of each comparison")
    parser.add_argument("--threads", type=int, help="trainer.threads of each job; default: auto")
    arguments = parser.parse_args()
    from runner.training.machine import garbage

    parts = [part for name, part in PARTS.items() if arguments.only in (None, name)]
    # Python collects garbage as rarely as in each process of `runner`.
    with garbage.rare(), tempfile.TemporaryDirectory(prefix="sweeps-") as folder, contextlib.chdir(folder):
        return table(row for part in parts for row in part(arguments.pairs, arguments.threads))


# --- training


def training(pairs: int, threads: int | None) -> Iterator[Row]:
    """Compare training as one program with training one by one."""
    for experiment, epochs, bar in (("linear_regression", 300, 10.0), ("digits_mlp", 5, 5.0)):
        jobs = _jobs(experiment, epochs, threads)
        _check_same_weights(jobs)
        what = f"training: 64 x {experiment}, {epochs} epochs"
        yield compare(what, lambda j=jobs: _together(j)[0], lambda j=jobs: _alone(j)[0], pairs, bar, faster=True)


def _jobs(experiment: str, epochs: int, threads: int | None) -> list[Any]:
    """Return the settings of 8 learning rates x 8 seeds."""
    settings, jobs = composing.settings(experiment), []
    settings.trainer.epochs = epochs
    settings.trainer.threads = threads or settings.trainer.threads
    for i in range(64):
        job = deepcopy(settings)
        job.seed, job.optimizer["lr"] = i % 8, settings.optimizer["lr"] * 2 ** -(i // 8 / 2)
        jobs.append(job)
    return jobs


def _prepared(jobs: list[Any]) -> list[Any]:
    from runner.training.prepare import prepare

    runs = [prepare(job, "benchmark") for job in jobs]
    for run in runs:
        run.close()
    return runs


def _together(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.training.vectorized import drive_many, groups

    runs = _prepared(jobs)
    begun = time.perf_counter()
    [members], alone = groups(runs)
    with ends.ending():
        errors = drive_many([runs[i] for i in members], [[] for _ in members])
    seconds = time.perf_counter() - begun
    assert not alone
    assert errors == [None] * len(jobs)
    return seconds, runs


def _alone(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.training.drive import drive

    runs = _prepared(jobs)
    begun = time.perf_counter()
    with ends.ending():
        for run in runs:
            drive(run)
    return time.perf_counter() - begun, runs


def _check_same_weights(jobs: list[Any]) -> None:
    """Check some jobs, roughly: rounding grows with the steps, and exact laws have tests."""
    import torch

    for one, other in zip(_together(jobs)[1][:64:9], _alone(jobs[:64:9])[1], strict=True):
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


# --- whole, jobs, peers


def whole(pairs: int, threads: int | None) -> Iterator[Row]:
    """Compare whole sweeps."""
    jobs = sweeps.words("digits_mlp", 64, 100, *_threads(threads))
    for other, bar in (("basic", 2.0), ("one by one", None)):
        yield compare(
            f"whole: 64 x digits_mlp, 100 epochs, vectorized against {other}",
            lambda: sweeps.sweep(jobs, "together"),
            lambda o=other: sweeps.sweep(jobs, o),
            pairs,
            bar,
            faster=True,
            warm=False,
        )


def jobs(pairs: int, threads: int | None) -> Iterator[Row]:
    """Compare the cost of a small job beside its training with MLflow's calls and the plots."""
    beside = sweeps.Beside("linear_regression", 300, *_threads(threads))
    what = "jobs: a job of 64 beside its training, against MLflow's calls and the plots"
    yield compare(what, beside.ours, lambda: statistics.median(beside.floor() for _ in range(5)), pairs, 1.3)


def peers(pairs: int, threads: int | None) -> Iterator[Row]:
    """Compare with the same jobs in Lightning."""
    for experiment, epochs, how, more, bar in (
        ("linear_regression", 300, "one by one", ["plots=[]"], 10.0),
        ("digits_mlp", 5, "one by one", ["plots=[]"], 3.0),
        ("digits_mlp", 5, "together", ["plots=[]"], 5.0),
        ("digits_mlp", 5, "together", [], None),
    ):
        yield compare(
            f"peers: 16 x {experiment}, {how}{'' if more else ', with plots'}, against Lightning",
            lambda e=experiment, n=epochs, h=how, m=more: sweeps.sweep(
                sweeps.words(e, 16, n, *m, *_threads(threads)), h
            ),
            lambda e=experiment, n=epochs: sweeps.lightning(e, 16, n, *_threads(threads)),
            pairs,
            bar,
            faster=True,
        )


def store(pairs: int, threads: int | None) -> Iterator[Row]:
    """Record many runs once; the other column is the bar."""
    seconds, measured, gigabytes = records.seconds(records.RUNS)
    what = f"store: {records.RUNS:,} records, and {measured:.1f} s to measure them; {gigabytes:.1f} GB at most"
    yield Row(what, seconds - measured, records.SECONDS, (seconds - measured) / records.SECONDS, 1.0)


def _threads(threads: int | None) -> list[str]:
    return [] if threads is None else [f"trainer.threads={threads}"]


PARTS: dict[str, Callable[[int, int | None], Iterator[Row]]] = {
    "training": training,
    "whole": whole,
    "jobs": jobs,
    "peers": peers,
    "store": store,
}

if __name__ == "__main__":
    sys.exit(main())
