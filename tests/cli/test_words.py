"""Words of the command line and of studies: what works, and the command line that is advised for what does not."""

import os
import pty
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn

from runner import __version__, commands
from runner.cli import invoke
from runner.cli.answers import advice, help
from runner.commands import runs
from runner.commands._words import indexed
from runner.data import Data, Tensors
from runner.model import specs
from runner.model.planning import plan
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.tracking import screen
from runner.tracking.store.stores import Row
from runner.training.parts import metric_specs, metrics
from tests.support import components, composing
from tests.support.command import HANGS, SCRIPT, runner

# Layers: a list and a mapping after any preset

PRESETS = sorted(path.stem for path in (places.conf() / "model").glob("*.yaml"))
LIST = "[{Linear: 3}, ReLU, {Linear: 1}]"
MAPPING = "{one: {Linear: 3}, two: ReLU, three: {Linear: 1}}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: Any, experiments: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def layers(*words: str) -> Any:
    return composing.settings(*words).model.layers


@pytest.mark.parametrize("preset", PRESETS)
def test_a_list_takes_the_place_of_any_preset_and_a_mapping_of_a_study_is_added(preset: str, here: Path) -> None:
    given = OmegaConf.to_container(OmegaConf.load(places.conf() / "model" / f"{preset}.yaml"))["layers"]  # type: ignore[index, call-overload]
    expected = [{"Linear": 3}, "ReLU", {"Linear": 1}]
    mapping = {"one": {"Linear": 3}, "two": "ReLU", "three": {"Linear": 1}}
    both = {**(given if isinstance(given, dict) else {}), **mapping}
    for text, wanted in ((LIST, expected), (MAPPING, both)):
        (here / "experiments/x.yaml").write_text(
            f"defaults:\n  - override /model: {preset}\nmodel:\n  layers: {text}\n"
        )
        with composing.hydra():
            typed = [f"model={preset}", f"model.layers={text}"]
            if isinstance(wanted, dict) and isinstance(given, dict) and given:  # other names would follow the head
                assert "there is no layer one, two, three" in composing.problem(*typed)
                typed = []
            for words in filter(None, (["experiments=x"], typed)):
                found = layers(*words)
                assert list(found) == list(wanted)
                if isinstance(wanted, list):
                    assert found == wanted
                else:
                    assert {name: found[name] for name in mapping} == mapping


def test_a_list_works_in_a_preset_of_ones_own_that_begins_with_another(here: Path) -> None:
    (here / "conf/model").mkdir(parents=True)
    (here / "conf/model/mine.yaml").write_text(f"defaults: [mlp]\nknobs: {{width: 5}}\nlayers: {LIST}\n")
    (here / "conf/model/named.yaml").write_text(f"defaults: [linear]\nlayers: {MAPPING}\n")
    with composing.hydra():
        assert layers("model=mine") == [{"Linear": 3}, "ReLU", {"Linear": 1}]
        assert composing.settings("model=mine").model.knobs["width"] == 5
        assert list(layers("model=named")) == ["one", "two", "three"]


def test_below_a_layer_too_the_later_value_takes_the_place(here: Path) -> None:
    (here / "experiments/x.yaml").write_text("model: {layers: {a: {Sequential: {x: {Linear: 2}}}, b: {Linear: 1}}}\n")
    with composing.hydra():
        assert layers("experiments=x", "model.layers.a.Sequential=[ReLU]")["a"] == {"Sequential": ["ReLU"]}
        assert "expected keys and values" in composing.problem("tracking.tags=[1]")
        assert "1 is not a list, as in [Accuracy]" in composing.problem("metrics={a: 1}")


def test_a_sweep_over_lists_of_layers(workplace: Path) -> None:
    done = runner(
        "check", "-m", "model=mlp,linear", "model.layers=[{Linear: 2},{Linear: 1}],[{Linear: 1}]", cwd=workplace
    )
    assert re.findall(r"parameters +(\d+)$", done.out, re.MULTILINE) == ["7", "2", "7", "2"]


@pytest.mark.parametrize(
    "word", ["model.layers.head.Linear=1", "+model.layers.x=ReLU", "~model.layers[0]", "~model.layers.x"]
)
def test_a_name_in_a_list_of_layers_is_answered(word: str, here: Path) -> None:
    with composing.hydra():
        assert ": the layers are a list here" in composing.problem(word)


# Names of layers

TAKEN = ["type", "forward", "training", "add_module", "append", "pop", "train", "__class__", "_modules", "state_dict"]
FREE = [
    "name",
    "keys",
    "items",
    "values",
    "get",
    "layers",
    "weight",
    "bias",
    "_target_",
    "0",
    "1st",
    "class",
    "é",
    "слой",
    "a b",
    "x-1",
    "None",
]


@pytest.mark.parametrize("name", [*TAKEN, "a.b", "", " ", "a/b", "x" * 101])
def test_a_name_that_no_layer_can_have_is_one_message(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan({name: {"Linear": 1}}, torch.empty(2, 1, device="meta"))
    assert str(error.value).startswith(f"model.layers.{name}: ")
    assert "KeyError" not in str(error.value)


def test_all_names_of_torch_are_refused_and_only_those() -> None:
    late = {name for name in dir(nn.Module()) if name.startswith("___")}  # what torch's compiler adds as it is loaded
    for name in {*specs._TAKEN, *dir(nn.Module()), *FREE} - late:
        try:
            nn.Sequential().add_module(name, nn.ReLU())
            fits = True
        except KeyError:
            fits = False
        try:
            plan({name: "ReLU"}, torch.empty(2, 1, device="meta"))
            assert fits, name
        except ConfigError:
            assert not fits, name


def test_a_branch_is_no_module_by_its_name_and_may_be_called_forward() -> None:
    spec = {"both": {"Parallel": {"branches": {"forward": {"Linear": 1}, "type": {"Linear": 2}}}}}
    assert tuple(plan(spec, torch.empty(2, 1, device="meta")).output.shape) == (2, 3)


def test_layers_of_odd_names_train_resume_and_evaluate(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    stack = [f"'{name}': {{Linear: 2}}" for name in FREE] + ["head: {Linear: 1}"]
    text = "model: {layers: {" + ", ".join(stack) + "}}\ntrainer: {epochs: 2}\nplots: []\n"
    (workplace / "experiments/odd.yaml").write_text(text)
    runner("experiments=odd", cwd=workplace)
    assert " FINISHED " in runner("resume", "last", "trainer.epochs=3", cwd=workplace).last
    assert runner("evaluate", "last", "split=valid", cwd=workplace).last.startswith("evaluate ")
    runner("experiments=odd", "trainer.epochs=0", "loss=mse", cwd=workplace)


# Groups of which nothing need be chosen


@pytest.mark.parametrize(
    "words",
    [["scheduler=null"], ["experiments=digits_cnn", "scheduler=null"], ["experiments=x", "scheduler=null"],
     ["experiments=x", "~scheduler"], ["experiments=null", "scheduler=null"], ["~experiments"]],
)  # fmt: skip
def test_null_chooses_nothing(words: list[str], here: Path) -> None:
    (here / "experiments/x.yaml").write_text("defaults:\n  - override /scheduler: cosine\n")
    with composing.hydra():
        assert composing.settings(*words).scheduler is None
        assert composing.settings("experiments=x").scheduler is not None


def test_null_is_a_value_of_a_sweep(workplace: Path) -> None:
    words = ("scheduler=null,cosine", "trainer.epochs=2", "plots=[]", "sweep.plots=false")
    done = runner("-m", *words, cwd=workplace)
    assert "job 0/2  scheduler=null  FINISHED" in done.out
    assert "job 1/2  scheduler=cosine  FINISHED" in done.out


# The command line that was meant

MEANT = {
    "epochs=3": "trainer.epochs=3",
    "epoch=3": "trainer.epochs=3",
    "max_epochs=3": "trainer.epochs=3",
    "batch=32": "trainer.batch_size=32",
    "lr=0.1": "optimizer.lr=0.1",
    "learning_rate=0.1": "optimizer.lr=0.1",
    "trainer.lr=0.1": "optimizer.lr=0.1",
    "momentum=0.9": "optimizer.momentum=0.9",
    "name=Adam": "optimizer.name=Adam",
    "data.batch_size=8": "trainer.batch_size=8",
    "optimizer.epochs=3": "trainer.epochs=3",
    "+epochs=3": "trainer.epochs=3",
    "gamma=0.5 scheduler=cosine": "",
    "experiment=digits_cnn": "experiments=digits_cnn",
    "dataset=line": "data=line",
    "experiments=digits_cnn model.width=3": "experiments=digits_cnn model.knobs.width=3",
    "experiments=digits_cnn flat=false": "experiments=digits_cnn data.flat=false",
    "points=20 lr=0.1": "data.points=20 optimizer.lr=0.1",
    "trainer.epochs 3": "trainer.epochs=3",
    "epochs 3": "trainer.epochs=3",
    "--epochs 3": "trainer.epochs=3",
    "--epochs=3": "trainer.epochs=3",
    "-epochs=3": "trainer.epochs=3",
    "--batch-size 8 --lr 0.1": "trainer.batch_size=8 optimizer.lr=0.1",
    "--deterministic": "trainer.deterministic=true",
    "optimizer.lr:0.1": "optimizer.lr=0.1",
    "optimizer.lr: 0.1": "optimizer.lr=0.1",
    "optimizer.lr = 0.1": "optimizer.lr=0.1",
    "optimizer.lr= 0.1": "optimizer.lr=0.1",
    "optimizer.lr =0.1": "optimizer.lr=0.1",
    "digits_cnn": "experiments=digits_cnn",
    "experiments/digits_cnn.yaml": "experiments=digits_cnn",
    "digits_cnn epochs=2": "experiments=digits_cnn trainer.epochs=2",
    "optimizer/adam": "optimizer=adam",
    "-m lr=0.1,0.2 epochs=2": "-m optimizer.lr=0.1,0.2 trainer.epochs=2",
    "n_trials=3": "hydra/sweeper=optuna hydra.sweeper.n_trials=3",
    "launcher=vectorized": "hydra/launcher=vectorized",
    "factor=0.5": "scheduler=plateau scheduler.factor=0.5",
    "trainer.epochs==3": "trainer.epochs=3",
    "'trainer.epochs = 3'": "trainer.epochs=3",
    "lr=0.1,0.2": "-m optimizer.lr=0.1,0.2",
    "experiments=digits_cnn,diabetes": "-m experiments=digits_cnn,diabetes",
    "scheduler.gamma=0.5": "scheduler=step scheduler.gamma=0.5",
    "optimizer=NAdam": "optimizer.name=NAdam",
    "early_stopping=3": "trainer.patience=3",
    "exp=digits_cnn": "experiments=digits_cnn",
    "dropout=0.5": "",
    "loss=CTCLoss": "",
    "epochs=-3": "",
    "zzz=3": "",
}


@pytest.mark.parametrize("typed", MEANT)
def test_the_command_line_that_was_meant_is_advised_after_it_was_tried(
    typed: str, here: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv(places.ACTIVE, str(os.getpid()))
    given = [indexed(word) for word in shlex.split(typed)]
    found = advice.line("check", given)
    assert found == (f"try: runner check {MEANT[typed]}" if MEANT[typed] else "")
    if found and "-m" not in found:
        with composing.hydra():
            assert composing.problem(*shlex.split(found)[3:]) == ""


WORKS = ["epochs=3", "trainer.epochs 3", "--lr 0.1", "linear_regression", "lr = 0.1", "-m lr=0.1,0.2"]
WORKS += ["model.layers=[{Linear: 1}] epoch=2"]


@pytest.mark.parametrize("typed", WORKS)
def test_what_is_advised_works_as_it_stands(typed: str, tmp_path: Path) -> None:
    done = runner("check", *shlex.split(typed.replace("{Linear: 1}", "'{Linear: 1}'")), cwd=tmp_path, code=2)
    advised = shlex.split(done.err.strip().splitlines()[-1].removeprefix("try: "))
    assert advised[:2] == ["runner", "check"]
    runner(*advised[1:], cwd=tmp_path)


def test_a_word_that_is_no_command_names_the_study(tmp_path: Path) -> None:
    done = runner("digits_cnn", cwd=tmp_path, code=2)
    assert "'digits_cnn' is neither a command nor key=value" in done.err
    assert done.err.splitlines()[-1] == "try: runner experiments=digits_cnn"
    assert "try: runner trainer.epochs=3" in runner("trainer.epochs", "3", cwd=tmp_path, code=2).err


def test_a_word_that_is_nearly_a_command_is_answered(tmp_path: Path) -> None:
    answer = runner("run", "experiments=digits_cnn", cwd=tmp_path, code=2).err
    assert answer.splitlines()[-1] == "try: runner experiments=digits_cnn"
    assert invoke._near("version") == "; did you mean --version?"
    assert invoke._near("trainer.epochs") == "; trainer.epochs=VALUE sets it"
    assert invoke._near("predcit") == "; did you mean 'predict'?"


def test_what_no_quotes_would_mend_is_said(here: Path) -> None:
    with composing.hydra():
        assert "expected one = without spaces around it" in composing.problem("trainer.epochs==3")
        assert "are not as many that open as that close" in composing.problem("model.layers=[{Linear: 1}]]")
        assert "has to be in quotes; type " in composing.problem("tracking.run_name=a=b")
        betas = composing.problem("optimizer=adam", "optimizer.betas=[0.9]")
        assert betas.startswith("optimizer.betas: expected 2 values, as in [0.9, 0.999], not [0.9]")
        assert composing.problem("data=table", "data.features=a").startswith(
            "data.features: 'a' is not a list, as in [a"
        )


def test_names_that_other_programs_give_to_metrics_lead_to_those_of_torchmetrics() -> None:
    y = torch.arange(30) % 3
    classes = Data(Tensors(y, y), Tensors(y, y), task="multiclass", classes=("a", "b", "c"))
    numbers = Data(Tensors(y, y.float()[:, None]), Tensors(y, y.float()[:, None]))
    given = {"rmse": {"MeanSquaredError": {"squared": False}}, "mae": "MeanAbsoluteError"}
    assert [one.name for one in metric_specs.specs_of(given, "metrics")] == ["rmse", "mae"]
    assert [one.name for one in metric_specs.specs_of([given, {"rmse": given["rmse"]}][1:], "metrics")] == ["rmse"]
    for name, meant in metric_specs.OTHERS.items():
        with pytest.raises(ConfigError, match=f"is not a metric in torchmetrics; did you mean {re.escape(meant)}"):
            metrics.resolve([name.upper()])
        regression = meant.startswith(("Mean", "R2", "{"))
        data, loss, outputs = (numbers, nn.MSELoss(), 1) if regression else (classes, nn.CrossEntropyLoss(), 3)
        spec = OmegaConf.to_container(OmegaConf.create(f"[{meant}]"))
        assert components.made_metrics(spec, data, loss, torch.empty(2, outputs, device="meta"), None)  # type: ignore[arg-type]


def test_flags_may_stand_anywhere(tmp_path: Path) -> None:
    done = runner("check", "seed=1", "-m", "optimizer.lr=0.1,0.2", cwd=tmp_path)
    assert done.out.count(": right") == 2


def test_a_recorded_run_is_told_where_the_key_is(tmp_path: Path) -> None:
    done = runner("evaluate", "last", "batch_size=3", cwd=tmp_path, code=2)
    assert "batch_size: evaluate of a recorded run takes no such key; did you mean trainer.batch_size=3?" in done.err


# The defaults of a study

CHOICES = {
    "optimizer: adam": "override /optimizer: adam",
    "/optimizer: adam": "override /optimizer: adam",
    "override optimizer: adam": "override /optimizer: adam",
    "override/optimizer: adam": "override /optimizer: adam",
    "optional optimizer: adam": "override /optimizer: adam",
    "optimizer=adam": "override /optimizer: adam",
    "override /optimizer adam": "override /optimizer: adam",
    "optimizer/adam": "override /optimizer: adam",
    "adam": "override /optimizer: adam",
    "scheduler: null": "override /scheduler: null",
    "hydra/sweeper: optuna": "override /hydra/sweeper: optuna",
    "trainer: {epochs: 3}": "trainer: {epochs: 3}",
}


@pytest.mark.parametrize("entry", CHOICES)
def test_an_entry_of_the_defaults_is_answered_with_how_it_is_written(entry: str, here: Path) -> None:
    (here / "experiments/x.yaml").write_text(f"defaults:\n  - {entry}\n")
    with composing.hydra():
        message = composing.problem("experiments=x")
        assert message.startswith("defaults[0]: ")
        assert f"`{CHOICES[entry]}`" in message
        right = CHOICES[entry]
        text = f"defaults:\n  - {right}\n" if right.startswith("override") else f"{right}\n"
        (here / "experiments/x.yaml").write_text(text)
        assert composing.problem("experiments=x") == ""


def test_a_study_may_begin_with_another(here: Path) -> None:
    (here / "experiments/a.yaml").write_text("defaults:\n  - override /optimizer: adam\n")
    (here / "experiments/x.yaml").write_text("defaults: [a]\nseed: 3\n")
    with composing.hydra():
        assert composing.settings("experiments=x").optimizer["name"] == "Adam"


# Headers of tables


@pytest.mark.parametrize("header", ["2", "length (cm)", "a=b", "x, y", "naïve", "it's", "a:b", "{a}"])
def test_a_column_of_any_name_can_be_the_target(header: str, here: Path) -> None:
    rows = "".join(f"{n},{n + 0.5}\n" for n in range(20))
    quoted = f'"{header}"' if "," in header else header
    (here / "t.csv").write_text(f"0,{quoted}\n{rows}")
    word = f"data.target={header}"
    with composing.hydra():
        problem = composing.problem("data=table", "data.path=t.csv", word)
        if problem:
            assert "has to be in quotes; type " in problem
            [word] = shlex.split(problem.splitlines()[0].partition("; type ")[2])
        assert composing.problem("data=table", "data.path=t.csv", word) == ""
        assert composing.problem("data=table", "data.path=t.csv", word, "data.features=[0]") == ""


# Help


def test_the_version_is_ours(tmp_path: Path) -> None:
    done = runner("--version", cwd=tmp_path)
    assert done.out.startswith(f"runner {__version__} (torch {metadata.version('torch')}, mlflow ")


@pytest.mark.parametrize("name", commands.names())
def test_every_command_has_help_with_every_argument(name: str) -> None:
    text = help.command(name)
    assert text.startswith(f"usage: runner {name}")
    assert f"example: runner {name}" in text
    listed = [line for line in text.splitlines() if line.startswith("  ") and not line.startswith("   ")]
    assert all(re.fullmatch(r"  \S+ +\S.*", line) for line in listed), "an argument without its meaning"


def test_help_of_a_command_is_printed_both_ways(tmp_path: Path) -> None:
    ways = [("evaluate", "--help"), ("help", "evaluate"), ("evaluate", "-h")]
    assert len({runner(*words, cwd=tmp_path).out for words in ways}) == 1
    assert "split" in runner(*ways[0], cwd=tmp_path).out
    assert runner("help", cwd=tmp_path).out == runner("--help", cwd=tmp_path).out


@pytest.mark.parametrize("words", [("--help",), ("check", "--help"), ("--cfg", "job"), ("check",), ("nonsense",)])
def test_a_reader_that_goes_away_ends_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    command = [SCRIPT, *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == (2 if words == ("nonsense",) else 0)
    assert "BrokenPipe" not in errors


def test_a_training_goes_on_when_nobody_reads_it(workplace: Path) -> None:
    command = [SCRIPT, "trainer.epochs=3", "plots=[]"]
    with subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode == 0
    assert "FINISHED" in runner("runs", cwd=workplace).out


# Tables and bars

NAMES = ("optimizer.lr=0.001, model.knobs.width=32, trainer.epochs=30", "a", "b :smile: [bold]", "c")
ROWS = [
    Row("0123456789abcdef", NAMES[0], "digits_with_a_long_name", "FINISHED", 1.7e9, 12.3,
        {"train/loss": 0.0123, "valid/loss": 0.2, "valid/Accuracy": 0.97, "test/loss": 0.03, "test/F1": 0.5}),
    Row("fedcba9876543210", NAMES[1], "runner", "RUNNING", 1.7e9, None, {}),
    Row("aaaaaaaabbbbbbbb", NAMES[2], "runner", "SCHEDULED", 1.7e9, 100000, {"train/loss": 3.0}),
    Row("ccccccccbbbbbbbb", NAMES[3] * 300, "x" * 200, "KILLED", 1.7e9, 0.1, {"train/loss": 3.0}),
]  # fmt: skip


def printed(width: int) -> str:
    console = Console(width=width, force_terminal=False, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(runs.table(ROWS, width))
    return capture.get()


@pytest.mark.parametrize("width", [40, 50, 60, 72, 80, 100, 120, 160, 200, 1000])
def test_ids_states_and_results_are_in_every_width(width: int) -> None:
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    lines = [line for line in text.splitlines() if line[:1] not in ("", " ")]
    assert [line[:8].strip() for line in lines[1:]] == [row.run_id[:8] for row in ROWS]
    assert all(row.status in line.split() for row, line in zip(ROWS, lines[1:], strict=True))
    results = "".join(line[lines[0].index("results") :].strip() for line in text.splitlines())
    assert "valid/Accuracy=0.97" in results
    if width >= 80:
        assert "…" in text or width == 1000


def test_nothing_is_cut_in_a_pipe(workplace: Path) -> None:
    name = "n" * 240
    runner("trainer.epochs=1", "plots=[]", f"tracking.run_name={name}", cwd=workplace)
    [_, line] = runner("runs", cwd=workplace).out.splitlines()
    assert name in line
    assert "train/loss=" in line


BARE = {
    "CI": None,
    "JPY_PARENT_PID": None,
    "MPLBACKEND": None,
    "FORCE_COLOR": None,
    "TTY_COMPATIBLE": None,
    "TERM": "xterm",
}
LOOKS = [
    (True, {}, True),
    (True, {"FORCE_COLOR": "1"}, True),
    (False, {}, False),
    (False, {"FORCE_COLOR": "1"}, False),
    (False, {"TTY_COMPATIBLE": "1"}, False),
    (True, {"TERM": "dumb"}, False),
    (True, {"CI": "true"}, False),
    (True, {"CI": "false"}, True),
    (True, {"JPY_PARENT_PID": "12", "FORCE_COLOR": "1", "TERM": "xterm-color"}, False),
    (True, {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, False),
]


@pytest.mark.parametrize(("terminal", "variables", "bar"), LOOKS)
def test_a_bar_is_drawn_for_a_person_at_a_terminal_only(
    terminal: bool, variables: dict[str, str], bar: bool, monkeypatch: Any
) -> None:
    for key, value in {**BARE, **variables}.items():
        monkeypatch.delenv(key, raising=False) if value is None else monkeypatch.setenv(key, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert screen.console().is_terminal is bar


def test_what_a_notebook_shows_has_no_control_codes(workplace: Path) -> None:
    master, slave = pty.openpty()
    notebook = {"TERM": "xterm", "JPY_PARENT_PID": "1", "FORCE_COLOR": "1"}
    environ = {k: v for k, v in os.environ.items() if k not in BARE} | notebook
    process = subprocess.Popen(
        [SCRIPT, "trainer.epochs=3", "plots=[]"], cwd=workplace, stdout=slave, stderr=slave, env=environ
    )
    os.close(slave)
    text = b"".join(iter(lambda: _read(master), b""))
    assert process.wait(HANGS) == 0
    assert b"\x1b" not in text
    assert b"epoch 3/3" in text


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed
        return b""


# Sweeps and stores


def test_jobs_are_counted_among_all_that_have_numbers(workplace: Path) -> None:
    words = (
        "optimizer.lr=-1,-2,-3,0.1,0.2",
        "sweep.keep_going=true",
        "trainer.epochs=1",
        "plots=[]",
        "sweep.plots=false",
    )
    done = runner("-m", *words, cwd=workplace, code=2)
    counted = [tuple(map(int, match)) for match in re.findall(r"^job (\d+)/(\d+)", done.out, re.MULTILINE)]
    assert counted == [(3, 5), (4, 5)]


def test_sync_says_that_there_is_nothing_to_do(workplace: Path) -> None:
    out = runner("sync", cwd=workplace).out
    assert out.startswith("nothing to deliver: ")
    assert out.count("spool") == 1  # one place, named once


# Data of one's own


def test_classification_is_a_task_of_data() -> None:
    x = torch.zeros(6, 1)
    two = Data(Tensors(x, torch.tensor([0, 1, 0, 1, 0, 1])), task="classification")
    assert (two.task, two.classes) == ("binary", ("0", "1"))
    named = Data(Tensors(x, torch.tensor([0, 1, 2, 0, 1, 2])), task="classification", classes=("a", "b", "c"))
    assert (named.task, named.classes) == ("multiclass", ("a", "b", "c"))
    valid = Tensors(x, torch.tensor([3, 0, 0, 0, 0, 0]))
    assert Data(Tensors(x, torch.zeros(6, dtype=torch.int64)), valid, task="classification").classes == tuple("0123")
    for y in (torch.rand(6), torch.rand(6, 2), -torch.ones(6, dtype=torch.int64)):
        with pytest.raises(ConfigError, match="has no classes"):
            Data(Tensors(x, y), task="classification")


CLASSES = """
import torch
from runner.data import Data, Tensors

def halves():
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    return Data(Tensors(x, (x[:, 0] > 0).long()), task="classification")
"""


def test_a_source_that_says_classification_trains(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/mine.py").write_text(CLASSES)
    (workplace / "experiments/mine.yaml").write_text(
        "data: {name: experiments.mine.halves}\nloss: {name: CrossEntropyLoss}\nmodel: {layers: [{Linear: 2}]}\n"
        "metrics: [Accuracy]\nplots: []\ntrainer: {epochs: 3}\n"
    )
    assert " FINISHED " in runner("experiments=mine", cwd=workplace).last
