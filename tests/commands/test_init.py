"""A project that `runner init` makes: from its folder alone to a compared, exported model of an own CSV file."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.command import runner

ROOT = Path(__file__).parents[2]
OWN = ("data=table", "data.path=data/mine.csv", "data.target=price", "data.valid=0.25")
MODEL = ("model.layers=[{Linear: 8}, ReLU, {Linear: 1}]", "optimizer=adam", "optimizer.lr=0.05", "trainer.epochs=20")


@pytest.fixture
def project(workplace: Path) -> Path:
    """A new project, with an empty store that need not be made anew."""
    runner("init", "deep/my_project", cwd=workplace)
    for path in workplace.glob("mlflow.db*"):
        path.rename(workplace / "deep/my_project" / path.name)
    return workplace / "deep/my_project"


def test_from_an_own_table_to_a_compared_and_exported_model(project: Path) -> None:
    draw = random.Random(0)
    rows = [(draw.random(), draw.choice("abc"), draw.random()) for _ in range(60)]
    lines = [f"{a:.3f},{kind},{2 * a + 'abc'.index(kind) + 0.1 * noise:.3f}" for a, kind, noise in rows]
    (project / "data/mine.csv").write_text("\n".join(["size,kind,price", *lines]) + "\n")
    assert "36 train, 15 valid, 9 test" in runner("check", *OWN, *MODEL, cwd=project).out
    one = runner(*OWN, *MODEL, cwd=project)
    assert " FINISHED " in one.last
    sweep = runner("-m", *OWN, *MODEL, "optimizer.lr=0.01,0.05", cwd=project)
    assert " FINISHED best=" in sweep.last
    table = runner("runs", cwd=project).out
    assert table.count("FINISHED") == 4
    best = sweep.last.partition("best=")[2].split()[0]
    runner("export", best, "format=pt2", "output=model.pt2", cwd=project)
    model = torch.export.load(str(project / "model.pt2")).module()
    assert model(torch.rand(2, 4)).shape == (2, 1)


def test_its_study_keeps_what_it_promises_and_its_parts_are_recorded(project: Path) -> None:
    done = runner("experiments=pendulum", cwd=project)
    values = dict(word.split("=") for word in done.last.split()[3:])
    assert float(values["valid/loss"]) <= 0.001
    assert float(values["valid/Within"]) >= 0.9
    [artifacts] = project.glob("mlruns/pendulum/*/artifacts")
    assert (artifacts / "plots/draw.png").stat().st_size > 5000
    assert (artifacts / "code/experiments/pendulum.py").read_text() == (project / "experiments/pendulum.py").read_text()
    page = runner(cwd=project).out
    assert "  pendulum  By which power of its length does the period of a pendulum grow?\n" in page


def test_its_tests_pass(project: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_its_schema_accepts_its_study_and_refuses_a_mistyped_key(project: Path) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((project / "schema.json").read_text())
    validator = Draft202012Validator(schema)
    text = (project / "experiments/pendulum.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../schema.json\n")
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
    assert list(validator.iter_errors(yaml.safe_load(text.replace("epochs:", "epoch:"))))
    assert (project / "README.md").read_text().startswith("# my_project\n")
    assert (project / ".gitignore").read_text().count("mlflow.db*") == 1
    assert json.loads((project / ".vscode/settings.json").read_text())["yaml.schemas"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full", "full: is not empty (a, b, c, ...), and nothing is overwritten; give the NAME of a new folder"),
        ("full/a", "full/a: is a file; expected a NAME for a new folder, as in runner init my_project"),
    ],
)
def test_nothing_is_overwritten(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    for one in "abcd":
        (tmp_path / "full" / one).write_text(one)
    assert runner("init", name, cwd=tmp_path, code=2).err.strip() == message
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == list("abcd")


def test_what_was_made_and_the_next_commands_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty one").mkdir()
    done = runner("init", "empty one", "--json", cwd=tmp_path)
    plain = json.loads(done.last)
    assert plain["next"][:2] == ["cd 'empty one'", "runner check experiments=pendulum"]
    there = [str(path.relative_to(tmp_path / "empty one")) for path in (tmp_path / "empty one").rglob("*")]
    assert set(plain["files"]) == {name for name in there if (tmp_path / "empty one" / name).is_file()}
