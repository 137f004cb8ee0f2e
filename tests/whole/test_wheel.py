"""The sdist, and the installed wheel, which works away from the checkout with a person's own experiments and code."""

import email
import email.message
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

MINE_YAML = """
# Does a layer of my own learn a parabola?
defaults:
  - override /model: empty
  - override /optimizer: adam

data: {name: experiments.mine.parabola, points: 64}
model:
  layers:
    square: {experiments.mine.Square: {scale: 1.0}}
    head: {Linear: 1}
optimizer: {lr: 0.05}
trainer: {epochs: 200, validate_every: 50}
"""
MINE_PY = """
import torch
from torch import nn
from runner.data import Data, Tensors

class Square(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x**2

def parabola(points: int) -> Data:
    x = torch.linspace(-1, 1, points).unsqueeze(1)
    return Data(Tensors(x, 3 * x**2 + 1))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing of ours but the built wheel; what it depends on is borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A path in a .pth file does not have its own .pth files read: the checkout's editable install stays out.
    (folder / f"env/lib/{version}/site-packages/borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env/bin/runner"


def environment() -> dict[str, str]:
    """Without what could lead Python back to the checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def run(installed: Path, cwd: Path, *words: str) -> str:
    done = subprocess.run([installed, *words], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_wheel_trains_a_persons_own_layer_and_data(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text(MINE_YAML)
    (tmp_path / "experiments/mine.py").write_text(MINE_PY)
    out = run(installed, tmp_path, "experiments=mine", "checkpoint.format=both")
    last = out.strip().splitlines()[-1]
    assert " FINISHED " in last
    assert float(last.split("train/loss=")[1].split()[0]) < 0.01
    assert "in experiment 'mine'" in out
    assert list(tmp_path.glob("mlruns/mine/*/artifacts/checkpoints/last-*/model.pt"))


def test_a_wheel_holds_the_presets_and_the_experiments(installed: Path, tmp_path: Path) -> None:
    where = run_python(installed, tmp_path, "import runner; print(runner.__file__)")
    assert ROOT not in Path(where.strip()).parents
    assert "digits_cnn" in run(installed, tmp_path, "--help")
    assert "(N, 10)" in run(installed, tmp_path, "summary", "experiments=digits_cnn", "plots=[]", "metrics=[]")


def test_a_wheel_has_what_the_checkout_has_and_nothing_else(wheel: Path, built: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    ours = {name for name in files if name.startswith(("runner/", "hydra_plugins/"))}
    inside = {f"runner/{name}" for name in files if name.startswith(("conf/", "experiments/", "template/"))}
    if files:  # a checkout
        assert names == ours | inside
    assert {"runner/py.typed", "runner/conf/config.yaml", "runner/experiments/digits_cnn.yaml"} <= names
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert ours | {"tests/conftest.py", "docs/design.md", "CITATION.cff", "LICENSE", "hatch_build.py"} <= source


def test_the_version_is_that_of_git_or_of_the_sdist(
    wheel: Path, metadata: email.message.Message, installed: Path
) -> None:
    version = metadata["Version"]
    assert wheel.name == f"runner_torch-{version}-py3-none-any.whl"
    printed = run(installed, wheel.parent, "--version")
    assert printed.startswith(f"runner {version} (torch ")
    code = "import sys, runner\nassert 'importlib.metadata' not in sys.modules\nprint(runner.__version__)"
    assert run_python(installed, wheel.parent, code).strip() == version


def test_a_tag_is_a_version_and_a_folder_without_git_has_a_name_that_no_release_has(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    def version() -> str:
        command = [sys.executable, "-m", "hatchling", "version"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    def git(*words: str) -> None:
        user = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
        subprocess.run(["git", *user, *words], cwd=tmp_path, check=True, capture_output=True)

    assert version() == "0.0.0+unknown"
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    assert re.fullmatch(r"0\.0\.1\.dev1\+unknown\.g[0-9a-f]+|0\.1\.dev1\+g[0-9a-f]+", version())
    git("tag", "v1.2.0")
    assert version() == "1.2.0"
    git("commit", "--allow-empty", "-m", "two")
    assert re.fullmatch(r"1\.2\.1\.dev1\+g[0-9a-f]+", version())


#: What a page leads to: places of links and pictures in Markdown and in HTML.
LEADS = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def test_the_page_of_the_package_index_leads_nowhere_that_is_not_there(metadata: email.message.Message) -> None:
    text = re.sub(r"```.*?^```|`[^`\n]+`", "", str(metadata.get_payload()), flags=re.DOTALL | re.MULTILINE)
    places = [link or address for link, address in LEADS.findall(text)]
    assert [place for place in places if not place.startswith(("https://", "#"))] == []
    assert "pip install" in str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_links_get_the_address_of_the_project_or_become_text() -> None:
    from hatch_build import portable

    text = "![a line](docs/a.png)\n\n[docs/b.md](docs/b.md), [costs](docs/c.md#d), [x](https://x), [up](#up), `[a](b)`"
    base = "https://host/us/runner/{}/v1.0/"
    assert portable(text, base) == (
        "![a line](https://host/us/runner/raw/v1.0/docs/a.png)\n\n"
        "[docs/b.md](https://host/us/runner/blob/v1.0/docs/b.md), "
        "[costs](https://host/us/runner/blob/v1.0/docs/c.md#d), [x](https://x), [up](#up), `[a](b)`"
    )
    assert portable(text, "").strip() == "docs/b.md, costs (docs/c.md#d), [x](https://x), [up](#up), `[a](b)`"


def test_what_is_said_of_the_package_is_said_once() -> None:
    """Python's versions and the licence, in pyproject.toml and in CITATION.cff."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = project["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {lowest}" in project["classifiers"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]


def test_the_index_takes_both(built: Path) -> None:
    pytest.importorskip("twine")
    files = [path for path in built.iterdir() if path.name.endswith((".whl", ".tar.gz"))]
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(files) == 2


CONSUMER = """
import runner
from runner.data import Data, Tensors
from torch import Tensor, nn

version: str = runner.__version__
model: nn.Module = runner.load("last")

def views(x: Tensor) -> Tensor:
    return runner.augment(["RandomHorizontalFlip"])(x)

def data(x: Tensor) -> Data:
    return Data(Tensors(x, x))
"""


def test_a_program_that_uses_it_is_checked_against_its_types(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(CONSUMER)
    (tmp_path / "wrong.py").write_text(f"{CONSUMER}\nnumber: int = runner.__version__\nrunner.load(run=1)\n")
    python = installed.with_name("python")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "right.py", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.partition(": error: ")[0] for line in lines[:-1]] == ["wrong.py:15", "wrong.py:16"], done.stdout


def test_importing_the_module_of_the_command_leaves_the_search_path_alone(installed: Path, tmp_path: Path) -> None:
    code = "import sys\nbefore = list(sys.path)\nimport runner.__main__\nprint(sys.path == before)"
    assert run_python(installed, tmp_path, code).strip() == "True"


def test_presets_of_the_working_directory_are_found(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "conf/optimizer").mkdir(parents=True)
    (tmp_path / "conf/optimizer/mine.yaml").write_text("name: SGD\nlr: 0.123\n")
    assert "lr: 0.123" in run(installed, tmp_path, "optimizer=mine", "--cfg", "job")


def run_python(installed: Path, cwd: Path, code: str) -> str:
    command = [installed.with_name("python"), "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=True).stdout
