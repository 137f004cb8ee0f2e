"""What is published, tested away from the checkout: `python -m tests.published [python=PYTHON] [in=FOLDER] [TEST ...]`.

Builds the sdist, and the wheel from it, and has twine check both. Then installs each, with the extra `test`, into a
virtual environment of its own, and runs the tests of the sdist there, in a folder that has all of it but the code.
TEST: what pytest is given, such as tests/model or -n2; those of SOURCE are always left out. python: the interpreter,
such as python3.13. in: the folder in which all of it is made, and kept; without it, a temporary one. To install takes
about five minutes for each of the two.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Folders of the sdist that are installed: beside the tests, they would be imported from there.
CODE = ("runner", "hydra_plugins")
#: Tests of the source itself: of its files, of documents that name them, of what git knows, of what is built from it.
SOURCE = (
    *("cli/test_private_names.py", "settings/test_torch_private.py", "tracking/test_mlflow_private.py"),
    *("whole/test_against_torch.py", "whole/test_device.py", "whole/test_documents.py", "whole/test_layering.py"),
    *("whole/test_tutorial.py", "whole/test_wheel.py"),
    "settings/test_terminal.py::test_all_that_is_printed_goes_through_one_place",
    "settings/test_terminal.py::test_consoles_are_made_in_one_place",
)


def main(folder: Path, python: str, tests: list[str]) -> int:
    """Build, check, install and test. Returns 1 if tests of either have failed, else 0."""
    wheel, sdist = build(folder)
    codes = [tested(folder / kind, path, sdist, python, tests) for kind, path in (("wheel", wheel), ("sdist", sdist))]
    return int(any(codes))


def build(folder: Path) -> tuple[Path, Path]:
    """Return the wheel and the sdist, built into `folder` and checked as the package index does."""
    made = folder / "dist"
    shutil.rmtree(made, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", made, ROOT], check=True)
    [wheel], [sdist] = made.glob("*.whl"), made.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], check=True)
    return wheel, sdist


def tested(folder: Path, path: Path, sdist: Path, python: str, tests: list[str]) -> int:
    """Install `path` into an environment in `folder`, run the tests of the sdist, and return pytest's exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    installed = folder / "env/bin/python"
    for command in (
        [python, "-m", "venv", "--clear", folder / "env"],
        [installed, "-m", "pip", "install", "-q", f"{path}[test]"],
        [installed, "-m", "pip", "check"],
        [folder / "env/bin/runner", "--version"],
    ):
        print("+", *command, flush=True)
        subprocess.run(command, env=environment, check=True)
    place = unpacked(folder, sdist)
    left_out = [f"--{'deselect' if '::' in name else 'ignore'}=tests/{name}" for name in SOURCE]
    return subprocess.run([installed, "-m", "pytest", "-q", *left_out, *tests], cwd=place, env=environment).returncode


def unpacked(folder: Path, sdist: Path) -> Path:
    """Return a folder with what is in the sdist, but without what is installed."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    place = folder / sdist.name.removesuffix(".tar.gz")
    for name in CODE:
        shutil.rmtree(place / name)
    return place


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("python=", "in=")))
    rest = [word for word in sys.argv[1:] if not word.startswith(("python=", "in="))]
    with tempfile.TemporaryDirectory() as temporary:
        chosen = Path(words.get("in", temporary)).absolute()
        chosen.mkdir(parents=True, exist_ok=True)
        sys.exit(main(chosen, words.get("python", sys.executable), rest))
