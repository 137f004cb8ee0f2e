"""benchmarks/gpu.py comes to its end on the pretended device, without bars."""

import subprocess
import sys
from pathlib import Path

from tests.support.command import HANGS

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"


def test_the_script_for_a_gpu_comes_to_its_end_without_one() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--pretend"], capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.rstrip().endswith("x        -")]
    for what in ("linear_regression, 10 epochs", "digits_cnn, 1 epochs", "bf16: bare", "4 x digits_mlp", "one graph"):
        assert any(what in row for row in rows), done.stdout
    assert len(rows) == 17, done.stdout
    assert "NOT MEASURED" not in done.stdout
