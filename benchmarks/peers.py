"""Training alone, beside Keras 3 on torch and on JAX. Prints a table, and exits with 1 if a bar is missed.

    python benchmarks/peers.py [--only digits_mlp|digits_cnn] [--pairs N] [--cores N]

The same nets (initial weights drawn from the same distributions), data, sizes of batches, optimizer, learning rates,
epochs and validations after each of them; each draws its own order. Timed is `drive` without observers and without
the end of a run, and `fit` with everything at its default, silent and without metrics of its steps. All three end with
about the same accuracy, or the benchmark stops.

Each trains in a process of its own that stays alive (benchmarks/worker.py), so that the two sides of a pair follow
each other directly and take turns in going first (benchmarks/pairs.py). The first training of each, which compiles and
fills what is cached, is in no ratio; its seconds are printed. All processes have the same processors, 2 unless
--cores says otherwise. Torch has as many threads under Keras as trainer.threads=auto gives it here, which is 1 for
these nets and their best; JAX decides for itself. The processor's seconds are printed beside the clock's: on a machine
that has other work these are the ones to compare.

Needs runner-torch[bench].
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import composing
from benchmarks.pairs import Row, compare, table
from benchmarks.worker import Worker

#: Epochs of each experiment.
EPOCHS = {"digits_mlp": 20, "digits_cnn": 10}
#: Our seconds, as a multiple of the peer's.
BARS = {"jax": 0.9, "torch": None}
#: How far apart the accuracies after the last epoch may be: 13 of 269 examples.
APART = 0.05


def main() -> int:
    """Compare the experiments that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(EPOCHS), help="one experiment")
    parser.add_argument("--pairs", type=int, default=11, help="pairs of each comparison")
    parser.add_argument("--cores", type=int, default=2, help="processors that all processes have")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # what is started from here inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    names = [name for name in EPOCHS if arguments.only in (None, name)]
    return table(row for name in names for row in compared(name, arguments.pairs))


def compared(experiment: str, pairs: int) -> Iterator[Row]:
    """Compare an experiment with both backends."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, contextlib.ExitStack() as stack:
        spec = _spec(experiment, Path(folder) / "data.npz")
        ours = Worker("benchmarks.in_runner", {"experiment": experiment, "epochs": spec["epochs"]})
        peers = {
            backend: Worker(
                "benchmarks.in_keras", spec, KERAS_BACKEND=backend, KERAS_HOME=folder, JAX_PLATFORMS="cpu",
                TF_CPP_MIN_LOG_LEVEL="3",
            )
            for backend in BARS
        }  # fmt: skip
        for worker in (ours, *peers.values()):
            stack.callback(worker.close)
        for backend, bar in BARS.items():
            peer = peers[backend]
            first = ours.train(), peer.train()
            yield compare(
                f"peers: {experiment}, {spec['epochs']} epochs, against Keras on {backend}",
                ours.train,
                peer.train,
                pairs if bar else min(pairs, 5),
                bar,
            )
            print(f"{'':7}first training {first[0]:.2f} s, {first[1]:.2f} s; {_reached(ours, peer)}", flush=True)


def _spec(experiment: str, path: Path) -> dict[str, Any]:
    """Return what Keras needs to know of an experiment, and write its data to `path`."""
    import numpy as np

    from runner.data import evaluation_size
    from runner.model import host
    from runner.training.prepare import prepare

    settings = composing.settings(experiment)
    run = prepare(settings, "benchmark")
    run.close()
    parts: Any = {"": run.data.train, "valid_": run.data.valid}
    np.savez(path, **{f"{name}{key}": host.array(getattr(part, key)) for name, part in parts.items() for key in "xy"})
    knobs, optimizer = settings.model.knobs, settings.optimizer
    return {
        "experiment": experiment,
        "epochs": EPOCHS[experiment],
        "batch_size": settings.trainer.batch_size,
        "evaluated": evaluation_size(run.data.valid, settings.trainer),  # type: ignore[arg-type]
        "lr": optimizer["lr"],
        "betas": list(optimizer["betas"]),
        "width": knobs["width"],
        "dropout": knobs["dropout"],
        "threads": run.threads,
        "data": str(path),
    }


def _reached(ours: Worker, peer: Worker) -> str:
    """Return processor seconds, last losses and accuracies in words.

    Ends the benchmark if the accuracies are too far apart.
    """
    one, other = ours.answers[-1], peer.answers[-1]
    busy = [statistics.median(answer["cpu"] for answer in worker.answers) for worker in (ours, peer)]
    words = f"processor {busy[0]:.2f} s, {busy[1]:.2f} s; valid/loss {one['loss']:.3f}, {other['loss']:.3f}"
    words += f"; accuracy {one['accuracy']:.3f}, {other['accuracy']:.3f}"
    if abs(one["accuracy"] - other["accuracy"]) > APART:
        sys.exit(f"the two did not do the same work: {words}")
    return words


if __name__ == "__main__":
    sys.exit(main())
