"""Seconds of a process that reports a wrong layer in the middle of fifty: `python benchmarks/checks.py`."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNNER = Path(sys.executable).with_name("runner")
STACK = (
    ["{Linear: 64}", "ReLU"] * 12
    + ["{Conv2d: {out_channels: 3, kernel_size: 3}}"]
    + ["{Linear: 64}"] * 24
    + ["{Linear: 1}"]
)


def seconds(folder: str) -> float:
    """Run `runner check` on the wrong stack, and return its seconds."""
    begun = time.perf_counter()
    done = subprocess.run([RUNNER, "check", "experiments=deep"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("model.layers[24].Conv2d: takes inputs of shape"), done.stderr
    return time.perf_counter() - begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiments").mkdir()
        (Path(folder) / "experiments/deep.yaml").write_text(f"model: {{layers: [{', '.join(STACK)}]}}\n")
        times = [seconds(folder) for _ in range(5)]
    middle, least = statistics.median(times), min(times)
    print(f"a wrong layer in the middle of {len(STACK)}: median {middle:.2f} s, least {least:.2f} s")
