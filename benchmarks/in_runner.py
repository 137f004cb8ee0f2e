"""An experiment trained here again and again, `python -m benchmarks.in_runner SPEC`, for benchmarks/peers.py.

SPEC, JSON: experiment, epochs.
"""

import gc
import json
import sys
import time
from typing import Any

from benchmarks import composing, ends, worker
from runner.training.drive import drive
from runner.training.machine import garbage
from runner.training.prepare import prepare


def main() -> None:
    """Train whenever it is asked for, with as little garbage collection as in each process of `runner`."""
    spec = json.loads(sys.argv[1])
    settings = composing.settings(spec["experiment"])
    settings.trainer.epochs = spec["epochs"]
    with garbage.rare(), ends.ending():
        worker.serve(lambda: train(settings))


def train(settings: Any) -> dict[str, Any]:
    """Prepare a run, which is not timed, and return the seconds of its training and its last validation."""
    run = prepare(settings, "benchmark")
    gc.collect()
    begun, cpu = time.perf_counter(), time.process_time()
    drive(run)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    run.close()
    values = run.last_values()
    return {"seconds": seconds, "cpu": cpu, "loss": values["valid/loss"], "accuracy": values["valid/Accuracy"]}


if __name__ == "__main__":
    main()
