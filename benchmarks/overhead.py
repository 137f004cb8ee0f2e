"""The cost of the runner beside the work itself. Prints a table, and exits with 1 if a bar is missed.

    python benchmarks/overhead.py [--only loop|close|process|cfg] [--pairs N]

loop      The tracked training loop (`drive` up to its last step: events, history, a Tracker on a SQLite store, plain
          lines to nowhere) against a bare PyTorch loop. The bare loop takes the same optimizer steps on the same
          tensors and the same batches, draws the order of the examples and changes the learning rate as
          configured, makes the same validation passes (loss and accuracy) and reads their values, and
          nothing else: it keeps no losses. Both end with the same weights, bit for bit, or the benchmark stops.
          `line` is 300 steps with a validation every 10, `digits_cnn` 10 epochs at batch 64 with a validation after
          each.
close     From the last step of the `line` job to its run being FINISHED (flush, checkpoints, predictions, end; no
          plots) against MLflow's own calls for the same content: create_run, a log_batch of the params, a log_batch
          of the 300 losses, the same files in one log_artifacts, set_terminated.
process   `runner experiments=linear_regression` against benchmarks/by_hand.py, whole processes on an existing store.
cfg       `runner --cfg job` against 0.4 x `python -c "import torch"` + 0.5 s.

The two sides of a pair follow each other directly and take turns in going first (benchmarks/pairs.py).
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import composing, driven, ends  # noqa: E402
from benchmarks.pairs import Row, compare, table  # noqa: E402


def main() -> int:
    """Run the parts that were asked for, in a folder of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, help="pairs of each comparison, instead of its own number")
    arguments = parser.parse_args()
    parts = [part for name, part in PARTS.items() if arguments.only in (None, name)]
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, contextlib.chdir(folder):
        return table(row for part in parts for row in part(arguments.pairs))


# --- loop


def loop(pairs: int | None) -> Iterator[Row]:
    """Compare the tracked loop with the bare one."""
    line, digits = composing.settings("linear_regression"), composing.settings("digits_cnn")
    digits.trainer.epochs = 10
    assert digits.trainer.batch_size == 64
    for name, settings, n in (("line x 300 steps", line, 41), ("digits_cnn x 10 epochs", digits, 7)):
        _check_same_weights(settings)
        for bar, words, validate in ((1.10, "", True), (None, ", bare without validation", False)):
            yield compare(
                f"loop: {name}{words}",
                lambda s=settings: driven.tracked(s)[0],
                lambda s=settings, v=validate: driven.bare(s, v)[0],
                pairs or n,
                bar,
            )


def _check_same_weights(settings: Any) -> None:
    import torch

    ours, bare = driven.tracked(settings)[1], driven.bare(settings, True)[1]
    same = all(torch.equal(ours[name], bare[name]) for name in ours)
    assert same, "the tracked loop and the bare one did not do the same work"


# --- close


def close(pairs: int | None) -> Iterator[Row]:
    """Compare the end of a run with MLflow's own calls, without plots on either side."""
    settings = composing.settings("linear_regression")
    files = Path("content").absolute()
    for bar, words, opening in ((1.3, "", False), (None, ", with its opening", True)):
        yield compare(
            f"close: line x 300 steps{words}",
            lambda o=opening: _close(settings, files, o),
            lambda: _floor(settings, files),
            pairs or 31,
            bar,
        )


def _close(settings: Any, files: Path, opening: bool = False) -> float:
    """Return the seconds from the last step to FINISHED, and put the run's files into `files` for the other side."""
    from runner.training import finish

    last: list[float] = []
    usual, before = finish.finish, time.perf_counter()

    def timed(run: Any, draw: Any) -> Iterator[Any]:
        last.append(time.perf_counter())
        yield from usual(run, draw)

    with ends.ending(timed), driven.driven(settings) as (_, drive, record, run_id):
        opened = time.perf_counter() - before
        drive()
        record.close()
        seconds = time.perf_counter() - last[0]
        _download(settings, run_id, files)
    return seconds + (opened if opening else 0.0)


def _download(settings: Any, run_id: str, files: Path) -> None:
    """Put the files that a run gets at its end into `files`: checkpoints and predictions."""
    from runner.tracking.store import stores

    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    client = stores.open_store(settings.tracking.uri)
    for name in ("checkpoints", "predictions.npy"):
        client.download_artifacts(run_id, name, str(files))


def _floor(settings: Any, files: Path) -> float:
    """Return the seconds of MLflow's calls for the same content."""
    import dataclasses

    from mlflow.entities import Metric, Param

    from runner.tracking.identity import params
    from runner.tracking.store import stores

    client = stores.open_store(settings.tracking.uri)
    experiment = client.get_experiment_by_name("benchmark").experiment_id
    losses = [Metric("train/loss", 1e-4, time.time_ns() // 1_000_000, step) for step in range(1, 301)]
    entries = [Param(key, value) for key, value in params(dataclasses.asdict(settings)).items()]
    begun = time.perf_counter()
    run_id = client.create_run(experiment).info.run_id
    client.log_batch(run_id, params=entries)
    client.log_batch(run_id, metrics=losses)
    client.log_artifacts(run_id, str(files))
    client.set_terminated(run_id)
    return time.perf_counter() - begun


# --- process


def process(pairs: int | None) -> Iterator[Row]:
    """Compare whole processes. The script is copied, so that neither side starts inside a git repository."""
    shutil.copy(HERE / "by_hand.py", "by_hand.py")
    ours = [sys.executable, "-m", "runner", "experiments=linear_regression", "device=cpu"]
    by_hand = [sys.executable, "by_hand.py"]
    yield compare(
        "process: linear_regression against by_hand.py", _seconds_of(ours), _seconds_of(by_hand), pairs or 7, 0.9
    )


def cfg(pairs: int | None) -> Iterator[Row]:
    """Compare composing the configuration, which must not import torch, with the import of torch."""
    torch = _seconds_of([sys.executable, "-c", "import torch"])
    ours = _seconds_of([sys.executable, "-m", "runner", "--cfg", "job"])
    what = "cfg: --cfg job against 0.4 x import torch + 0.5 s"
    yield compare(what, ours, lambda: 0.4 * torch() + 0.5, pairs or 7, 1.0)


def _seconds_of(command: list[str]) -> Callable[[], float]:
    """Return a function that runs the command and returns its seconds; MLFLOW_ variables are not passed on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}

    def run() -> float:
        begun = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return seconds

    return run


PARTS: dict[str, Callable[[int | None], Iterator[Row]]] = {"loop": loop, "close": close, "process": process, "cfg": cfg}

if __name__ == "__main__":
    sys.exit(main())
