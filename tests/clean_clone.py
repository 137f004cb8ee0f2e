"""A run of a clean clone of this repository, reproduced by the code here."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Seconds of training; dropout, shuffling and a schedule draw on everything that has to be the same.
WORDS = "experiments=digits_cnn trainer.epochs=2 scheduler=cosine scheduler.T_max=2 plots=[]"


def figure() -> str:
    """One line: whether the weights' SHA-256 is the same. Raises AssertionError when it is not."""
    with tempfile.TemporaryDirectory(prefix="runner-clone-") as folder:
        clone, uri = Path(folder) / "clone", f"tracking.uri=sqlite:///{folder}/mlflow.db"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        trained = _runner(clone, clone, *WORDS.split(), uri)
        where = _python(clone, clone, "-c", "import runner; print(runner.__file__)").strip()
        assert Path(where).is_relative_to(clone), where
        told = _runner(ROOT, Path(folder), "reproduce", trained.split()[1], uri)
    assert " identical " in told, told
    return f"reproduce of a run from a clean clone: {told.partition(' identical ')[2]}, identical"


def _runner(code: Path, cwd: Path, *words: str) -> str:
    """The last line of a command that the package in `code` runs."""
    return _python(code, cwd, "-m", "runner", *words).strip().splitlines()[-1]


def _python(code: Path, cwd: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


if __name__ == "__main__":
    print(figure())
