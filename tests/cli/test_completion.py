"""Tab completion: what is offered, in real shells, fast, and without a word where anything is wrong."""

import contextlib
import importlib
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from runner import commands as packaged
from runner.cli import completion
from runner.cli.completion import candidates, commands, configuration
from runner.cli.completion.candidates import VALUES
from runner.commands import _words
from runner.commands.completion import SCRIPTS
from tests.conftest import settings

ROOT = Path(__file__).parents[2]
BREAKS = " \t\n\"'@><=;|&(:"
STUDY = """# yaml-language-server: $schema=../schema.json
# Is it mine?
defaults: [override /data: digits, override /optimizer: adam, override /model: empty]
optimizer: {lr: 0.25}
model: {layers: {flat: Flatten, head: {Linear: {out_features: 10}}}}
"""


@pytest.fixture
def there(workplace: Path, monkeypatch: Any) -> Path:
    """A folder with a study, a store with three runs, one of them deleted, and a file."""
    monkeypatch.chdir(workplace)
    (workplace / "experiments/more").mkdir(parents=True)
    (workplace / "experiments/mine.yaml").write_text(STUDY)
    (workplace / "experiments/more/other.yaml").write_text("seed: 3\n")
    (workplace / "table.csv").write_text("a,b\n")
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    client.create_experiment("without runs")
    number = client.create_experiment("mine")
    for name in ("first", "second\x1b[31m", "third"):
        run = client.create_run(number, run_name=name)
        client.set_terminated(run.info.run_id, "FINISHED")
    client.delete_run(run.info.run_id)
    return workplace


def offered(line: str) -> dict[str, str]:
    words = completion.split(line)
    return dict(candidates.candidates(words[1:-1], words[-1]))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("runner experiments=mi", ["experiments=mine"]),
        ("runner check experiments=more/", ["experiments=more/other"]),
        ("runner res", ["restore", "resume"]),
        ("runner help reprod", ["reproduce"]),
        ("runner loss=h", ["loss=huber"]),
        ("runner optimizer=sgd,adag", ["optimizer=sgd,adagrad"]),
        ("runner scheduler=nu", ["scheduler=null"]),
        ("runner trainer.ep", ["trainer.epochs="]),
        ("runner experiments=mine model.layers.he", ["model.layers.head."]),
        ("runner experiments=mine ~model.layers.fl", ["~model.layers.flat"]),
        ("runner experiments=mine optimizer.lr=", ["optimizer.lr=0.25"]),
        ("runner experiments=mine optimizer.bet", ["optimizer.betas="]),
        ("runner data=table data.path=ta", ["data.path=table.csv"]),
        ("runner device=c", ["device=cpu", "device=cuda"]),
        ("runner -m hydra/launcher=v", ["hydra/launcher=vectorized"]),
        ("runner tracking.experiment=", ["tracking.experiment=mine"]),
        ("runner --cf", ["--cfg"]),
        ("runner --cfg j", ["job"]),
        ("runner completion ", ["bash", "zsh", "fish"]),
        ("runner export last format=", ["format=pt2", "format=onnx", "format=safetensors"]),
        ("runner export last fo", ["format="]),
        ("runner show las", ["last"]),
        ("runner nothing=", []),
        ("runner 'experiments=mi", ["experiments=mine"]),
    ],
)
def test_a_line_is_completed(line: str, expected: list[str], there: Path) -> None:
    assert list(offered(line)) == expected


def test_runs_are_offered_with_their_names_the_newest_first(there: Path) -> None:
    found = offered("runner resume ")
    meanings = [meaning for text, meaning in found.items() if text != "last" and not text.endswith("=")]
    names = [meaning.partition(",")[0] for meaning in meanings if "mine" in meaning]
    assert names == ["second [31m", "first"], "a deleted run is not offered, and nothing that a terminal acts on"
    [run] = [text for text, meaning in found.items() if meaning.startswith("first")]
    assert len(run) == 8
    assert list(offered(f"runner evaluate {run[:7]}")) == [run]
    assert "just now" in found[run]


def test_studies_are_offered_with_their_question_and_keys_with_their_value(there: Path) -> None:
    assert offered("runner experiments=")["experiments=mine"] == "Is it mine?"
    assert offered("runner experiments=mine optimizer.")["optimizer.lr="] == "0.25"
    assert "tracking.uri=" in offered("runner tracking.")


@pytest.mark.parametrize("name", packaged.names())
def test_arguments_that_are_read_from_a_file_are_those_of_the_command(name: str) -> None:
    module = importlib.import_module(f"runner.commands.{name}")
    takes = commands.takes(name)
    found = [getattr(module, part, None) for part in ("with_run", "with_words")]
    assert takes.words == [word for function in found if function for word in _words.takes(function)]
    known = {*candidates.RUNS, "experiment", "shell", "name", "filter", "key", "value", "text", "note", "tag", "of"}
    assert set(takes.words) <= known, "say in completion/candidates.py what this word is"
    assert commands.meaning(name)


def test_the_values_that_are_offered_are_taken() -> None:
    from runner.training.checking import choices

    for key in [key for key in VALUES if key.startswith(("trainer.", "checkpoint."))]:
        section, _, name = key.partition(".")
        for value in VALUES[key]:
            chosen = settings()
            setattr(getattr(chosen, section), name, value)
            if value != "averaged":
                choices.trainer(chosen)
                choices.checkpoint(chosen)


def test_what_a_study_is_completed_with_is_what_is_composed() -> None:
    """For every shipped study: the keys that have a value, without what composing alone can know."""
    from tests.support import composing

    names = ("digits_cnn_wide", "digits_mlp", "linear_regression")
    with composing.hydra():
        for name in names:
            settings = composing.settings(f"experiments={name}")
            values = configuration.values([f"experiments={name}"])
            assert values["optimizer.name"] == settings.optimizer["name"]
            assert values["optimizer.lr"] == settings.optimizer["lr"]
            assert values["trainer.epochs"] == settings.trainer.epochs
            assert values["data.name"] == settings.data["name"]


def test_nothing_heavy_is_loaded_and_nothing_is_written(there: Path) -> None:
    code = (
        "import sys; sys.argv = ['runner', '__complete', 'fish', 'resume', '']; from runner.cli import main; main();"
        " heavy = {'torch', 'mlflow', 'hydra', 'omegaconf', 'numpy', 'matplotlib', 'rich'};"
        " assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    before = sorted(path.name for path in there.iterdir())
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, cwd=there)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("last\tthe newest run\n")
    assert {path.name for path in there.iterdir()} - set(before) <= {"mlflow.db-shm", "mlflow.db-wal"}


@pytest.mark.parametrize("store", ["no database", "", None])
def test_nothing_is_said_where_anything_is_wrong(
    store: str | None, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if store is not None:
        (tmp_path / "mlflow.db").write_text(store)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/broken.yaml").write_text("a: [\n\x00")
    (tmp_path / "experiments/round.yaml").write_text("defaults: [round]\n")
    for line in (
        "show ",
        "experiments=broken optimizer.",
        "experiments=round seed=",
        "'",
        "\\",
        "data.path=/no/where/",
    ):
        completion.main(["bash", f"runner {line}", BREAKS, "9", "80"])
    completion.main([])
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "last" in shown.out


def environment(**others: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **others}


@pytest.fixture
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a command `runner` of this checkout."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "runner"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m runner "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("runner experiments=mi\t", "runner experiments=mine"),
        ("runner check experiments=mine optimizer.l\t\t", "runner check experiments=mine optimizer.lr=0.25"),
        ("runner reprod\tlas\t", "runner reproduce last"),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes(typed: str, completed: str, there: Path, shim: Path) -> None:
    (there / "completion.bash").write_text(SCRIPTS["bash"])
    env = environment(PATH=f"{shim}:{os.environ['PATH']}", TERM="dumb", HISTFILE="/dev/null")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(there)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], env)
    # The line becomes the words of an `echo`: what bash has made of it stands on a line of its own.
    os.write(terminal, f"source completion.bash\n{typed}\x01echo \x05 :end\nexit\n".encode())
    text = b""
    with open(terminal, "rb", buffering=0) as shown, contextlib.suppress(OSError):  # noqa: PTH123  # it ends with bash
        while part := shown.read(4096):
            text += part
    os.waitpid(process, 0)
    lines = re.findall(r"^(runner .*?) *:end", text.decode().replace("\r", ""), re.MULTILINE)
    assert lines[-1] == completed  # the terminal may show what was typed before bash has begun, too


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_is_one_of_its_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(SCRIPTS[shell])
    assert subprocess.run([shell, "-n", "script"], cwd=tmp_path).returncode == 0
