"""A run of a clean clone of this repository, reproduced by the code here."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Seconds of training; dropout, shuffling and a schedule draw on everything that has to be the same.
WORDS = "experiments=digits_cnn trainer.epochs=2 scheduler=cosine scheduler.T_max=2 plots=[]"


#: The command, after the place of the package that runs it.
START = "import runner; print(runner.__file__, flush=True); from runner.cli.command import main; main()"


def figure() -> str:
    """One line: whether the weights' SHA-256 is the same. Raises AssertionError when it is not."""
    with tempfile.TemporaryDirectory(prefix="runner-clone-") as folder:
        clone, uri = Path(folder) / "clone", f"tracking.uri=sqlite:///{folder}/mlflow.db"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        run_id = _last(clone, clone, *WORDS.split(), uri).split()[1]
        told = _last(ROOT, Path(folder), "reproduce", run_id, uri)
    assert " identical " in told, told
    return f"reproduce of a run from a clean clone: {told.partition(' identical ')[2]}, identical"


def _last(code: Path, cwd: Path, *words: str) -> str:
    """The last line of a command that the package in `code` runs."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-c", START, *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1500)
    lines = done.stdout.strip().splitlines()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert Path(lines[0]).is_relative_to(code), lines[0]
    return lines[-1]


if __name__ == "__main__":
    print(figure())
