"""The suite's fast part on the oldest versions that pyproject.toml admits: `python -m tests.lowest [FOLDER]`.

Installs the lower bound of every dependency into a virtual environment in FOLDER (a temporary one without) and runs the
tests of the rooms that need no tracking store. Takes the download of a torch of several GB and about ten minutes.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("settings", "data", "model", "plots", "training")
#: Extras that the tests of these rooms use.
EXTRAS = ("optuna", "joblib", "slurm")
#: What the oldest of ours want of others beside what they say: matplotlib 3.9 uses names that pyparsing 3.3 warns of.
BESIDE = ("pyparsing<3.3",)
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "jsonschema")


def bounds(requirements: list[str]) -> list[str]:
    """Return each requirement with its lower bound alone: `torch>=2.10,<2.14` as `torch==2.10`."""
    found = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    assert all(found), "a dependency without a lower bound"
    return [f"{match[1]}=={match[2]}" for match in found if match]


def main(folder: Path) -> int:
    """Install and test. Returns the exit code of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for name in EXTRAS for requirement in project["optional-dependencies"][name]]
    oldest = bounds([*project["dependencies"], *extras])
    print("\n".join(oldest), flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *oldest, *BESIDE, *TOOLS], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT], check=True)
    tests = [f"tests/{room}" for room in ROOMS]
    return subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=ROOT).returncode


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
