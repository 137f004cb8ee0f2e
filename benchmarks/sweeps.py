"""What sweeps cost. Prints a table, and exits with 1 when a bar is missed.

    python benchmarks/sweeps.py [--only training|whole|jobs|peers] [--pairs N] [--threads N]

training  The training of 64 jobs alone, as one program (`drive_many`) against one by one (`drive`): 64 of
          `linear_regression` (8 learning rates x 8 seeds) and 64 of `digits_mlp` (the same), prepared beforehand,
          nobody told, nothing finished. Validation and its metrics, schedules and the choice of the best are part of
          it. Both sides end with the same weights, up to rounding, or the benchmark stops.
whole     The whole sweep of 64 jobs of `digits_mlp` at 100 epochs in this process, everything in MLflow: composed,
          checked, trained, recorded, plotted, closed. hydra/launcher=vectorized against hydra/launcher=basic, Hydra's
          own, and for information against hydra/launcher=one_by_one, which closes a run while the next one trains.
jobs      What a job of a sweep of 64 jobs of `linear_regression` costs beside its training (composing, checking,
          recording, plots, checkpoints, closing, and its share of the sweep's own run), against MLflow's own calls
          for the same tags, params, points and files with the same pictures drawn and written.
peers     The same 16 jobs with Lightning and its MLFlowLogger, every step logged (benchmarks/peers.py), in this
          process: `linear_regression` at 300 epochs, `digits_mlp` at 5. Lightning draws no plots of a run, so none are
          drawn here; with them for information. Needs runner-torch[bench].

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
    """One line of the table: how many times as fast as the other; of a cost, how many times as much."""

    what: str
    ours: float  # seconds, median
    other: float
    ratio: float
    bar: float | None
    cost: bool = False

    @property
    def missed(self) -> bool:
        if self.bar is None:
            return False
        return self.ratio > self.bar if self.cost else self.ratio < self.bar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of each comparison")
    parser.add_argument("--threads", type=int, help="trainer.threads of every job; all there are without it")
    told = parser.parse_args()
    from runner.training.machine import garbage

    rows: list[Row] = []
    # Python's collector is as seldom as in every process of `runner`.
    with garbage.rare(), tempfile.TemporaryDirectory(prefix="sweeps-") as folder, contextlib.chdir(folder):
        for name, part in PARTS.items():
            if told.only in (None, name):
                for row in part(told.pairs, told.threads):
                    _show(row, first=not rows)
                    rows.append(row)
    return int(any(row.missed for row in rows))


def _show(row: Row, first: bool) -> None:
    if first:
        print(f"{'':74} {'ours':>10} {'other':>10} {'ratio':>8} {'bar':>8}")
    bar = "-" if row.bar is None else f"{row.bar:.1f}x"
    verdict = "" if row.bar is None else "MISSED" if row.missed else "ok"
    print(f"{row.what:74} {row.ours:>8.3f} s {row.other:>8.3f} s {row.ratio:>7.2f}x {bar:>8} {verdict}", flush=True)


def _compare(
    what: str,
    ours: Callable[[], float],
    other: Callable[[], float],
    pairs: int,
    bar: float | None,
    warm: bool = True,
) -> Row:
    """Both return seconds. warm: one pair before the others fills what is cached."""
    if warm:
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

    from runner.cli.compose import trials
    from runner.settings.files import places

    os.environ[places.ACTIVE] = "1"
    trials.register()
    with hydra.initialize_config_dir(str(places.conf()), version_base="1.3"):
        config = hydra.compose("config", [f"experiments={experiment}", "device=cpu", "plots=[]"])
    return OmegaConf.to_object(config)


def _prepared(jobs: list[Any]) -> list[Any]:
    from runner.training.prepare import prepare

    runs = [prepare(job, "benchmark") for job in jobs]
    for run in runs:
        run.finish = lambda: iter(())
        run.close()
    return runs


def _together(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.training.vectorized import drive_many, groups

    runs = _prepared(jobs)
    begun = time.perf_counter()
    [members], alone = groups(runs)
    errors = drive_many([runs[i] for i in members], [[] for _ in members])
    seconds = time.perf_counter() - begun
    assert not alone
    assert errors == [None] * len(jobs)
    return seconds, runs


def _alone(jobs: list[Any]) -> tuple[float, list[Any]]:
    from runner.training.drive import drive

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


# --- whole, jobs, peers


def whole(pairs: int, threads: int | None) -> Iterator[Row]:
    """Whole sweeps."""
    from benchmarks import whole

    jobs = whole.words("digits_mlp", 64, 100, *_threads(threads))
    for other, bar in (("basic", 2.0), ("one by one", None)):
        yield _compare(
            f"whole: 64 x digits_mlp, 100 epochs, vectorized against {other}",
            lambda: whole.swept(jobs, "together"),
            lambda o=other: whole.swept(jobs, o),
            pairs,
            bar,
            warm=False,
        )


def jobs(pairs: int, threads: int | None) -> Iterator[Row]:
    """What a small job costs beside its training."""
    from benchmarks import whole

    beside = whole.Beside("linear_regression", 300, *_threads(threads))
    what = "jobs: a job of 64 beside its training, against MLflow's calls and the plots"
    row = _compare(what, beside.ours, lambda: statistics.median(beside.floor() for _ in range(5)), pairs, 1.3)
    yield Row(row.what, row.ours, row.other, 1 / row.ratio, row.bar, cost=True)


def peers(pairs: int, threads: int | None) -> Iterator[Row]:
    """The same jobs with Lightning."""
    from benchmarks import whole

    for experiment, epochs, how, more, bar in (
        ("linear_regression", 300, "one by one", ["plots=[]"], 10.0),
        ("digits_mlp", 5, "one by one", ["plots=[]"], 3.0),
        ("digits_mlp", 5, "together", ["plots=[]"], 5.0),
        ("digits_mlp", 5, "together", [], None),
    ):
        yield _compare(
            f"peers: 16 x {experiment}, {how}{'' if more else ', with plots'}, against Lightning",
            lambda e=experiment, n=epochs, h=how, m=more: whole.swept(whole.words(e, 16, n, *m, *_threads(threads)), h),
            lambda e=experiment, n=epochs: whole.lightning(e, 16, n, *_threads(threads)),
            pairs,
            bar,
        )


def _threads(threads: int | None) -> list[str]:
    return [] if threads is None else [f"trainer.threads={threads}"]


PARTS: dict[str, Callable[[int, int | None], Iterator[Row]]] = {
    "training": training,
    "whole": whole,
    "jobs": jobs,
    "peers": peers,
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
