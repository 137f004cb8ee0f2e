"""The speed of training on a GPU beside the limit of its hardware. Prints a table; exits with 1 if a bar is missed.

    python benchmarks/gpu.py [--only single|cifar|stacked|command] [--pairs N] [--limit SECONDS]
    python benchmarks/gpu.py --cpu         # or --pretend: the same script without a GPU, tiny, without bars

single   `linear_regression` (300 steps), `digits_mlp` (20 epochs) and `digits_cnn` (10 epochs): ours, tracked in an
         MLflow store, against the step that was captured once as a CUDA graph and is replayed, written by hand
         (benchmarks/captured.py), and for information against the bare PyTorch loop and against the replays alone.
cifar    A CNN on 50,000 random images of 3x32x32, batch 500, 2 epochs, fp32 and bf16, against the same two.
stacked  64, 512 and 4,096 nets of `digits_mlp` for 5 epochs: `drive_many`, prepared beforehand and without the end of a
         run, against all of them in stacked tensors as one CUDA graph, by hand: baddbmm and a fused Adam.
command  4,096 nets of `digits_mlp`, 5 epochs: `runner -m ... hydra/launcher=vectorized` with all in MLflow, a whole
         process, against 60 seconds.

Both sides of a training make the same passes over the validation data, anneal the learning rate, and bring all losses
to the host in the end; the limit keeps no best weights. Its capture is part of its time, as ours is of ours. The pairs
are interleaved (benchmarks/pairs.py). Nothing is begun that would end after the limit, 230 seconds: it is missed then.
"""

import argparse
import contextlib
import dataclasses
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["RUNNER_TRUST"] = "benchmarks"  # for benchmarks.random_images

from mlflow import MlflowClient  # noqa: E402

from benchmarks import captured, composing, driven, ends  # noqa: E402
from benchmarks.pairs import Row, compare, table  # noqa: E402
from runner.settings import Model  # noqa: E402
from runner.training.machine import garbage  # noqa: E402
from runner.training.prepare import prepare  # noqa: E402
from runner.training.vectorized import drive_many, groups  # noqa: E402

#: Seconds within which 4,096 networks are trained and recorded.
COMMAND = 60.0


@dataclasses.dataclass
class Bench:
    """Where and how much is measured, and how long it may take."""

    device: str
    pairs: int
    end: float  # of time.monotonic
    tiny: bool  # a try without a GPU: one epoch, few networks, no bars
    env: dict[str, str]  # of processes that have the device

    def bar(self, number: float) -> float | None:
        """Return the bar, of a GPU."""
        return None if self.tiny else number

    def compare(self, what: str, bar: float | None, ours: Any, other: Any, seconds: float, pairs: int = 0) -> Row:
        """Compare if there is time; if not, a row with a bar is missed. seconds: about those of a pair."""
        left, pairs = self.end - time.monotonic(), 1 if self.tiny else pairs or self.pairs
        pairs = min(pairs, int(left / seconds) - 1)
        if pairs < 1:
            return Row(f"{what}: NOT MEASURED, {left:.0f} s left", math.nan, math.nan, math.inf, bar)
        return compare(what, ours, other, pairs, bar, warm=not self.tiny)


def main() -> int:
    """Run the parts that were asked for, in a folder of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of each comparison, at most")
    parser.add_argument("--limit", type=float, default=230, help="seconds after which nothing is begun")
    parser.add_argument("--cpu", action="store_true", help="try the script on the processor")
    parser.add_argument("--pretend", action="store_true", help="try the script on the pretended device")
    arguments = parser.parse_args()
    tiny = arguments.cpu or arguments.pretend
    if not tiny and not torch.cuda.is_available():
        sys.exit("there is no GPU on this machine; to try the script without one: --cpu or --pretend")
    begun = time.monotonic()
    with garbage.rare(), tempfile.TemporaryDirectory(prefix="gpu-") as folder, contextlib.chdir(folder):
        env = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}
        if arguments.pretend:
            from tests.support import pretend

            env = pretend.environment(Path(folder) / "site")
            pretend.register()
        device = "pretend" if arguments.pretend else "cpu" if arguments.cpu else "cuda"
        print(f"{_name(device)}, torch {torch.__version__}", flush=True)
        bench = Bench(device, arguments.pairs, begun + arguments.limit, tiny, env)
        missed = table(row for name, part in PARTS.items() if arguments.only in (None, name) for row in part(bench))
    print(f"{time.monotonic() - begun:.0f} s")
    return missed


def _name(device: str) -> str:
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if device == "cuda" else device


# --- single, cifar


def single(bench: Bench) -> Iterator[Row]:
    """Compare the three small jobs with the limit and with the bare loop."""
    for experiment, epochs in (("linear_regression", 300), ("digits_mlp", 20), ("digits_cnn", 10)):
        settings = composing.settings(experiment, bench.device)
        settings.trainer.epochs = (10 if experiment == "linear_regression" else 1) if bench.tiny else epochs
        yield from _against(bench, f"{experiment}, {settings.trainer.epochs} epochs", settings, 1.5, 2)


def cifar(bench: Bench) -> Iterator[Row]:
    """Compare a CNN that keeps the device busy."""
    settings = composing.settings("digits_cnn", bench.device)
    examples, side, width, batch = (64, 8, 4, 16) if bench.tiny else (50_000, 32, 64, 500)
    settings.data = {"name": "benchmarks.random_images.images", "examples": examples, "valid": batch, "side": side}
    conv = [{"Conv2d": {"out_channels": width * n, "kernel_size": 3, "padding": 1}} for n in (1, 2, 4)]
    small, middle, large = conv
    settings.model = Model(
        [small, "ReLU", small, "ReLU", {"MaxPool2d": 2}, middle, "ReLU", middle, "ReLU", {"MaxPool2d": 2}, large,
         "ReLU", {"MaxPool2d": 2}, "Flatten", {"Linear": 4 * width}, "ReLU", {"Linear": 10}]
    )  # fmt: skip
    settings.optimizer["lr"] = 0.001
    settings.trainer.epochs, settings.trainer.batch_size = (1 if bench.tiny else 2), batch
    for precision in ("fp32", "bf16"):
        settings.trainer.precision = precision
        yield from _against(bench, f"CNN, {examples:,} images, {precision}", deepcopy(settings), 1.05, 4)


def _against(bench: Bench, what: str, settings: Any, bar: float, seconds: float) -> Iterator[Row]:
    """Compare ours with the limit, its replays and the bare loop."""
    replays: list[float] = []

    def limit() -> float:
        whole, alone, loss = captured.single(settings)
        assert loss == loss, "the limit diverges"
        replays.append(alone)
        return whole

    ours = lambda: driven.tracked(settings)[0]  # noqa: E731
    row = bench.compare(f"{what}: the step captured by hand", bench.bar(bar), ours, limit, seconds)
    yield row
    if replays:
        alone = statistics.median(replays)
        yield Row(f"{what}: its replays alone", row.ours, alone, row.ours / alone, None)
    yield bench.compare(f"{what}: bare loop", None, ours, lambda: driven.bare(settings)[0], seconds, 3)


# --- stacked


def stacked(bench: Bench) -> Iterator[Row]:
    """Compare many networks as one program with all of them as one graph."""
    for count, pairs, seconds in ((2, 1, 1),) if bench.tiny else ((64, 5, 3), (512, 2, 12), (4096, 1, 40)):
        settings = composing.settings("digits_mlp", bench.device)
        settings.trainer.epochs = 1 if bench.tiny else 5
        what = f"{count:,} x digits_mlp, {settings.trainer.epochs} epochs: one graph by hand"
        ours, limit = _together(count, settings), lambda n=count, s=settings: captured.stacked(n, s)[0]
        if count < 4096:
            yield bench.compare(what, bench.bar(2.0), ours, limit, seconds, pairs)
            continue
        limit()
        if (left := bench.end - time.monotonic()) < seconds:  # to prepare as many twice would take too long
            yield Row(f"{what}: NOT MEASURED, {left:.0f} s left", math.nan, math.nan, math.inf, 2.0)
            continue
        one, other = ours(), limit()
        yield Row(what, one, other, one / other, 2.0)


def _together(count: int, settings: Any) -> Callable[[], float]:
    """Return a function that trains `count` jobs, 8 learning rates x seeds, and returns the seconds of `drive_many`."""
    jobs = [deepcopy(settings) for _ in range(count)]
    for i, job in enumerate(jobs):
        job.seed, job.optimizer["lr"] = i // 8, settings.optimizer["lr"] * 2 ** -(i % 8 / 2)

    def train() -> float:
        runs = [prepare(job, "benchmark") for job in jobs]
        for run in runs:
            run.close()
        [members], alone = groups(runs)
        assert not alone, f"{len(alone)} of {count} jobs are not stacked"
        with ends.ending():
            driven.synchronize(runs[0].device)
            begun = time.perf_counter()
            errors = drive_many([runs[i] for i in members], [[] for _ in members])
            driven.synchronize(runs[0].device)
            seconds = time.perf_counter() - begun
        assert errors == [None] * count, next(error for error in errors if error)
        return seconds

    return train


# --- command


def command(bench: Bench) -> Iterator[Row]:
    """Compare a whole sweep, in a process of its own, with the seconds it may take."""
    seeds = 2 if bench.tiny else 512
    rates = [0.003 * 2 ** -(i / 2) for i in range(2 if bench.tiny else 8)]
    words = [
        "-m", "experiments=digits_mlp", f"device={bench.device}", f"trainer.epochs={1 if bench.tiny else 5}",
        f"optimizer.lr={','.join(f'{rate:.6g}' for rate in rates)}", f"seed=range({seeds})", "plots=[]",
        "hydra/launcher=vectorized", "tracking.experiment=command",
    ]  # fmt: skip
    what = f"{seeds * len(rates):,} x digits_mlp, whole command, all in MLflow: {COMMAND:.0f} s"
    left = bench.end - time.monotonic()
    if left < COMMAND and not bench.tiny:
        yield Row(f"{what}: NOT MEASURED, {left:.0f} s left", math.nan, COMMAND, math.inf, 1.0)
        return
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "runner", *words],
            env={**os.environ, **bench.env},
            capture_output=True,
            text=True,
            timeout=None if bench.tiny else left,
        )
    except subprocess.TimeoutExpired:
        yield Row(f"{what}: STOPPED", left, COMMAND, left / COMMAND, 1.0)
        return
    seconds = time.perf_counter() - begun
    if done.returncode or "FINISHED" not in done.stdout.strip().splitlines()[-1]:
        sys.exit(f"runner {' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    recorded = _recorded()
    assert recorded == seeds * len(rates), f"{recorded} runs are FINISHED"
    yield Row(what, seconds, COMMAND, seconds / COMMAND, bench.bar(1.0))


def _recorded() -> int:
    """Return the number of FINISHED jobs of the sweep in the store."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment, token, found = client.get_experiment_by_name("command").experiment_id, None, 0
    while True:
        page = client.search_runs(
            [experiment],
            "attributes.status = 'FINISHED' and tags.`sweep.job` != ''",
            max_results=5000,
            page_token=token,
        )
        found, token = found + len(page), page.token
        if not token:
            return found


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "single": single,
    "cifar": cifar,
    "command": command,
    "stacked": stacked,
}

if __name__ == "__main__":
    sys.exit(main())
