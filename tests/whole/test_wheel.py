"""The installed wheel works away from the checkout, with a person's own experiments and code."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

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
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing of ours but the built wheel; what it depends on is borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
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


def test_presets_of_the_working_directory_are_found(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "conf/optimizer").mkdir(parents=True)
    (tmp_path / "conf/optimizer/mine.yaml").write_text("name: SGD\nlr: 0.123\n")
    assert "lr: 0.123" in run(installed, tmp_path, "optimizer=mine", "--cfg", "job")


def run_python(installed: Path, cwd: Path, code: str) -> str:
    command = [installed.with_name("python"), "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=True).stdout
