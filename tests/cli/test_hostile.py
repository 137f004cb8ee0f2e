"""Configurations and files of strangers: each is refused with its key, and its canary stays untouched."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from omegaconf import OmegaConf
from torch import nn

from runner.cli.guard import command_line, composition, files, hydra_rules
from runner.settings.errors import ConfigError
from runner.settings.trust import limits, permission
from runner.training.state import checkpoint
from tests.support import command, composing

#: Writes a file as soon as it is made: what a canary is touched with.
TOUCH = "{_target_: logging.FileHandler, filename: CANARY}"

CALLS = [
    *("os.mkdir", "os.system", "subprocess.run", "shutil.rmtree", "pathlib.Path.touch", "logging.FileHandler"),
    *("builtins.exec", "builtins.eval", "builtins.open", "importlib.import_module", "hydra.utils.instantiate"),
    *("torch.load", "torch.save", "torch.hub.load", "torch.nn.functional.torch.load", "torch.serialization.os.mkdir"),
    *(
        "runner.settings.values.lookup.importlib.import_module",
        "runner.training.state.checkpoint.save",
        "runner.commands.ui.with_settings",
    ),
    *("experiments.os.mkdir", "experiments.losses.torch.save", "experiments..losses.line", "__import__"),
]
STUDY = "experiments/x.yaml"
JOB_LOGGING = "version: 1\nhandlers: {h: {class: logging.FileHandler, filename: CANARY}}\nroot: {handlers: [h]}\n"

#: What is tried: files of the working directory, words of the command line, and the key of the answer.
HOSTILE: dict[str, tuple[dict[str, str], str, str]] = {
    **{f"data.name {name}": ({}, f"data.name={name} +data.path=CANARY", "data.name: ") for name in CALLS},
    "loss": ({}, "loss.name=os.mkdir +loss.path=CANARY", "loss.name: "),
    "loss by alias": ({}, "loss.name=torch.nn.modules.loss.torch.save", "loss.name: "),
    "optimizer": ({}, "optimizer.name=torch.optim.optimizer.torch.save", "optimizer.name: "),
    "scheduler": ({}, "+scheduler.name=os.mkdir +scheduler.path=CANARY", "scheduler.name: "),
    "layer": ({}, "model.layers=[{os.mkdir:{path:CANARY}}]", "model.layers[0].os.mkdir: "),
    "layer by alias": ({}, "model.layers=[{torch.nn.modules.module.torch.save:{f:CANARY}}]", "model.layers[0]"),
    "layer as _target_": ({}, "model.layers=[{_target_:os.mkdir,path:CANARY}]", "model.layers[0]: "),
    "inner layer": ({}, "model.layers=[{Residual:[{os.mkdir:{path:CANARY}}]}]", "model.layers[0].Residual.layers[0]"),
    "metric": ({}, "metrics=[{os.mkdir:{path:CANARY}}]", "metrics[0]: "),
    "metric by alias": ({}, "metrics=[torchmetrics.metric.torch.save]", "metrics[0]: "),
    "plot": ({}, "plots=[os.mkdir]", "plots[0]: "),
    "plot by traversal": ({}, "plots=['../CANARY']", "plots[0]: "),
    "interpolated _target_": (
        {STUDY: "tracking: {run_name: os.mkdir}\ndata: {_target_: '${tracking.run_name}', path: CANARY}\n"},
        "experiments=x",
        "data.name: ",
    ),
    "decoded _target_": (
        {STUDY: "data: {_target_: '${oc.decode:os.mkdir}', path: CANARY}\n"},
        "experiments=x",
        "data.name: ",
    ),
    "callback typed": ({}, f"+hydra.callbacks.x={TOUCH.replace(' ', '')}", "hydra.callbacks: "),
    "callback in a study": ({STUDY: f"hydra: {{callbacks: {{x: {TOUCH}}}}}\n"}, "experiments=x", "hydra.callbacks: "),
    "callback by package": (
        {"conf/data/evil.yaml": f"# @package hydra.callbacks\nx: {TOUCH}\n"},
        "data=evil",
        "hydra.callbacks: ",
    ),
    "callback by a group": (
        {"conf/hydra/callbacks/evil.yaml": f"x: {TOUCH}\n"},
        "hydra/callbacks=evil",
        "hydra.callbacks: ",
    ),
    "callback by defaults of a study": (
        {STUDY: "defaults: [override /hydra/callbacks: evil]\n", "conf/hydra/callbacks/evil.yaml": f"x: {TOUCH}\n"},
        "experiments=x",
        "hydra.callbacks: ",
    ),
    "logging class typed": (
        {},
        "+hydra.job_logging={version:1,handlers:{h:{class:logging.FileHandler,filename:CANARY}}}",
        "hydra.job_logging.handlers.h.class: ",
    ),
    "logging group": (
        {"conf/hydra/job_logging/evil.yaml": JOB_LOGGING},
        "hydra/job_logging=evil",
        "hydra.job_logging.handlers.h.class: ",
    ),
    "logging factory": (
        {STUDY: "hydra: {hydra_logging: {handlers: {console: {'()': logging.FileHandler, filename: CANARY}}}}\n"},
        "experiments=x",
        "hydra.hydra_logging.handlers.console.",
    ),
    "logging formatter": (
        {STUDY: "hydra: {hydra_logging: {formatters: {simple: {'()': os.mkdir, path: CANARY}}}}\n"},
        "experiments=x",
        "hydra.hydra_logging.formatters.simple.(): ",
    ),
    "logging import": (
        {STUDY: "hydra: {hydra_logging: {handlers: {console: {stream: 'ext://canary.touch'}}}}\n"},
        "experiments=x",
        "hydra.hydra_logging.handlers.console.stream: ",
    ),
    "logging class by interpolation": (
        {STUDY: "hydra: {hydra_logging: {handlers: {console: {class: 'logging.${oc.decode:FileHandler}'}}}}\n"},
        "experiments=x",
        "hydra.hydra_logging.handlers.console.class: ",
    ),
    "environment typed": ({}, "+hydra.job.env_set.RUNNER_TRUST=os", "hydra.job.env_set: "),
    "environment in a study": (
        {STUDY: "hydra: {job: {env_set: {RUNNER_TRUST: os}}}\ndata: {name: os.mkdir, path: CANARY}\n"},
        "experiments=x",
        "hydra.job.env_set: ",
    ),
    "launcher": ({}, "hydra.launcher._target_=os.mkdir +hydra.launcher.path=CANARY", "hydra.launcher._target_: "),
    "launcher in a study": (
        {STUDY: "hydra: {launcher: {_target_: logging.FileHandler}}\n"},
        "experiments=x",
        "hydra.launcher._target_: ",
    ),
    "sweeper": ({}, "hydra.sweeper._target_=os.mkdir +hydra.sweeper.path=CANARY", "hydra.sweeper._target_: "),
    "a plugin of another kind": (
        {},
        "hydra.launcher._target_=hydra_plugins.runner_sweeper.CheckedSweeper",
        "hydra.launcher._target_: ",
    ),
    "launcher's part": ({}, f"+hydra.launcher.x={TOUCH.replace(' ', '')}", "hydra.launcher.x._target_: "),
    "sweeper's part": ({}, f"+hydra.sweeper.x=[{TOUCH.replace(' ', '')}]", "hydra.sweeper.x[0]._target_: "),
    "part by an allowed package's alias": (
        {},
        "+hydra.sweeper.x={_target_:optuna.samplers.os.mkdir}",
        "hydra.sweeper.x._target_: ",
    ),
    "searchpath typed": ({}, "hydra.searchpath=[pkg://canary]", "hydra.searchpath: "),
    "searchpath added": ({}, "+hydra.searchpath=[file:///tmp]", "hydra.searchpath: "),
    "searchpath in a study": ({STUDY: "hydra: {searchpath: ['pkg://canary']}\n"}, "experiments=x", "searchpath"),
    "folder of the run": ({STUDY: "hydra: {run: {dir: CANARY}}\n"}, "experiments=x", "hydra.run.dir: "),
    "folder of the sweep": ({STUDY: "hydra: {sweep: {dir: ../../CANARY}}\n"}, "experiments=x", "hydra.sweep.dir: "),
    "folder of a job": ({STUDY: "hydra: {sweep: {subdir: ../../x}}\n"}, "experiments=x", "hydra.sweep.subdir: "),
    "folder of outputs": ({STUDY: "hydra: {output_subdir: /tmp/x}\n"}, "experiments=x", "hydra.output_subdir: "),
    "variable": ({STUDY: "tracking: {run_name: '${oc.env:PATH}'}\n"}, "experiments=x", "oc.env:PATH: "),
    "variable in disguise": (
        {STUDY: "tracking: {run_name: '${oc.decode:\"$\\{oc.env:PATH\\}\"}'}\n"},
        "tracking.run_name='${oc.env:PATH}'",
        "oc.env:PATH: ",
    ),
    "resolver": ({STUDY: "tracking: {run_name: '${touch:CANARY}'}\n"}, "experiments=x", "${touch:...} may not be used"),
    "tag of a call": ({STUDY: "seed: !!python/object/apply:os.mkdir [CANARY]\n"}, "experiments=x", "x.yaml:1: "),
    "tag of a name": ({STUDY: "seed: !!python/name:os.mkdir\n"}, "experiments=x", "x.yaml:1: "),
    "tag of a module": ({STUDY: "seed: 1\nx: !!python/module:canary\n"}, "experiments=x", "x.yaml:2: "),
    "tag of one's own": ({STUDY: "seed: !touch CANARY\n"}, "experiments=x", "x.yaml:1: "),
    "bomb": (
        {
            STUDY: "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        },
        "experiments=x",
        "x.yaml:6: ",
    ),
    "depth": ({STUDY: f"seed: {'[' * 900}{']' * 900}\n"}, "experiments=x", "x.yaml:1: "),
    "circle": ({STUDY: "model: &m {knobs: *m}\n"}, "experiments=x", "x.yaml:1: "),
    "size": ({STUDY: "# " + "x" * limits.BYTES}, "experiments=x", "x.yaml: "),
    "tag of bytes": ({STUDY: "seed: !!binary aGVsbG8=\n"}, "experiments=x", "x.yaml:1: "),
    "a circle of files": ({STUDY: "defaults: [x]\n"}, "experiments=x", "defaults: "),
    "layers without end by a number": (
        {},
        "model.layers=[{LSTM:{hidden_size:1,num_layers:1000000000}}]",
        "model.layers[0].LSTM.num_layers: ",
    ),
    "threads without end": ({}, "trainer.threads=1000000", "trainer.threads: "),
    "a number that torch overflows at": (
        {},
        "model.layers=[{Linear:100000000000000000000000}]",
        "model.layers[0].Linear.out_features: ",
    ),
    "a study by traversal": ({"evil.yaml": "seed: 1\n"}, "experiments=../evil", "experiments/..: "),
    "a preset by traversal": ({"evil.yaml": "name: x\n"}, "data=../../evil", "data/../..: "),
    "a layer's name by traversal": ({STUDY: "model: {layers: {../CANARY: ReLU}}\n"}, "experiments=x", "model.layers."),
}

CANARY = "import pathlib\npathlib.Path('touched').touch()\ndef touch(): pass\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_configuration_is_refused_with_its_key(name: str, workplace: Path, monkeypatch: Any) -> None:
    files, words, key = HOSTILE[name]
    canary = workplace / "touched"
    (workplace / "canary.py").write_text(CANARY)
    for file, text in files.items():
        (workplace / file).parent.mkdir(parents=True, exist_ok=True)
        (workplace / file).write_text(text.replace("CANARY", str(canary)))
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)
    with composing.hydra():
        found = composing.problem(*words.replace("CANARY", str(canary)).split())
    assert key in found.replace(str(workplace), ""), found
    assert not canary.exists()
    assert "canary" not in sys.modules


def test_there_are_sixty_of_them() -> None:
    assert len(HOSTILE) + len(FLAGS) >= 60


FLAGS = [
    "--experimental-rerun=config.pickle",
    "--experimental-r=config.pickle",
    "--config-dir=evil",
    "-cd=evil",
    "--config-name=evil",
    "-cn=evil",
    "--config-path=evil",
    "-cp=evil",
]


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_that_bring_files_of_others_are_refused(flag: str) -> None:
    words = ["seed=1", *(flag.split("=") if flag.startswith("-c") else [flag])]
    with pytest.raises(ConfigError, match="this flag cannot be used here"):
        command_line.check(words)


@pytest.mark.parametrize("words", [["-x"], ["--multirun=3"], ["--confg-dir=evil"]])
def test_a_flag_that_there_is_not_is_answered_in_one_line(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*`runner --help` lists the flags$"):
        command_line.check(words)


def test_the_flags_that_people_use_are_taken() -> None:
    taken = ["-m", "seed=1,2", "--cfg", "job", "--resolve"]
    command_line.check(taken)
    with pytest.raises(ConfigError, match="--config-dir"):
        command_line.check([*taken, "--config-dir", "elsewhere"])


class Touch:
    """A pickle of it makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def unguarded(guarded: list[str], *words: str, cwd: Path) -> None:
    """`runner` in a process where these guards are taken away."""
    process = command._context.Process(target=_run_unguarded, args=(guarded, words, str(cwd)))
    process.start()
    process.join(command.HANGS)


def _run_unguarded(guarded: list[str], words: tuple[str, ...], cwd: str) -> None:

    sys.path.insert(0, cwd)  # where a package of others would be
    for name in guarded:
        if name == "_checked":
            composition._checked = lambda load: load
        else:
            holder: Any = {"check": hydra_rules, "flags": command_line}[name]
            holder.check = lambda *_: None
    command._child(words, cwd, f"{cwd}/.out", f"{cwd}/.err", {})


#: Hostile rows whose guard is taken away: the guard, the files, the words.
HANDLER = "{_target_:logging.FileHandler,filename:CANARY}"
REAL: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "callback": ("check", {}, ["summary", f"+hydra.callbacks.x={HANDLER}"]),
    "callback by package": (
        "check",
        {"conf/data/evil.yaml": f"# @package hydra.callbacks\nx: {TOUCH}\n"},
        ["summary", "data=evil"],
    ),
    "logging": (
        "check",
        {},
        [
            "summary",
            "hydra/hydra_logging=default",
            "+hydra.hydra_logging.handlers.x={class:logging.FileHandler,filename:CANARY}",
        ],
    ),
    "logging group": (
        "check",
        {"conf/hydra/job_logging/evil.yaml": JOB_LOGGING},
        ["summary", "hydra/job_logging=evil"],
    ),
    "environment": (
        "check",
        {},
        ["summary", "+hydra.job.env_set.RUNNER_TRUST=canary", "data.name=canary.touch"],
    ),
    "folder of the run": ("check", {STUDY: "hydra: {run: {dir: CANARY}}\n"}, ["summary", "experiments=x"]),
    "launcher's part": ("check", {}, ["-m", "seed=0", f"+hydra.launcher.x={HANDLER}"]),
    "sweeper's part": ("check", {}, ["-m", "seed=0", f"+hydra.sweeper.x={HANDLER}"]),
    "searchpath": ("_checked", {}, ["summary", "hydra.searchpath=[pkg://canary]"]),
    "folder of the sweep that Hydra fills in later": (
        "check",
        {STUDY: "hydra: {sweep: {dir: 'CANARY/${hydra:job.name}'}}\n"},
        ["summary", "-m", "experiments=x", "seed=0"],
    ),
    "sweeper's part behind an interpolation": (
        "check",
        {
            STUDY: f"defaults: [override /hydra/sweeper: mine]\ndata: {TOUCH}\n",
            "conf/hydra/sweeper/mine.yaml": "_target_: hydra_plugins.runner_sweeper.CheckedSweeper\n"
            "max_batch_size: null\nparams: ${data}\n",
        },
        ["summary", "-m", "experiments=x", "seed=0"],
    ),
    "rerun": ("flags", {}, ["summary", "--experimental-rerun=config.pickle"]),
}


@pytest.mark.parametrize("name", REAL)
def test_without_its_guard_hydra_would_have_run_it(name: str, workplace: Path) -> None:
    canary = workplace / "touched"
    taken, files, words = REAL[name]
    words = [word.replace("CANARY", str(canary)) for word in words]
    (workplace / "config.pickle").write_bytes(pickle.dumps(Touch(canary)))
    (workplace / "canary.py").write_text(CANARY.replace("'touched'", repr(str(canary))))
    for file, text in files.items():
        (workplace / file).parent.mkdir(parents=True, exist_ok=True)
        (workplace / file).write_text(text.replace("CANARY", str(canary)))
    done = command.runner(*words, cwd=workplace, code=2)
    assert "Traceback" not in done.err
    assert not canary.exists()
    unguarded([taken], *words, cwd=workplace)
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


def test_without_its_guard_a_folder_of_plugins_would_have_been_imported(workplace: Path) -> None:
    canary = workplace / "touched"
    (workplace / "hydra_plugins").mkdir()
    (workplace / "hydra_plugins/evil.py").write_text(f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n")
    env = {**os.environ, "PYTHONPATH": "", "RUNNER_ACTIVE": "1"}
    words = [sys.executable, "-m", "runner", "--cfg", "job"]
    subprocess.run(words, cwd=workplace, env=env, check=True, timeout=command.HANGS)
    assert not canary.exists()
    script = "from runner.cli import command; from runner.cli.guard import composition; import contextlib, sys;"
    script += "sys.argv[1:] = ['--cfg', 'job'];"
    script += "composition._without_working_directory = contextlib.nullcontext; command.main()"
    subprocess.run([sys.executable, "-c", script], cwd=workplace, env=env, capture_output=True, timeout=command.HANGS)
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


def test_what_lookup_refuses_would_have_been_called(workplace: Path, monkeypatch: Any) -> None:
    """The same words, from a person who trusts the package."""
    canary, words = workplace / "touched", ("data.name=canary.touch",)
    (workplace / "canary.py").write_text(CANARY)
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)
    with composing.hydra():
        assert "data.name: " in composing.problem(*words)
        assert not canary.exists()
        monkeypatch.setenv("RUNNER_TRUST", "canary")
        composing.problem(*words)
    del sys.modules["canary"]
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


def test_a_resolver_that_is_taken_away_would_have_been_called(workplace: Path, monkeypatch: Any) -> None:
    canary = workplace / "touched"
    monkeypatch.chdir(workplace)
    words = ("tracking.run_name='${touch:x}'",)
    OmegaConf.register_new_resolver("touch", lambda _: canary.touch())
    with composing.hydra():
        assert "touch" in composing.problem(*words)
        assert not canary.exists()
        OmegaConf.register_new_resolver("touch", lambda _: canary.touch())
        composing.problem(*words)
    assert canary.exists(), "nothing would have happened: the guard guards nothing"
    OmegaConf.clear_resolver("touch")


def test_a_tag_would_have_been_called(workplace: Path) -> None:
    canary = workplace / "touched"
    text = f"!!python/object/apply:os.mkdir [{canary}]"
    with pytest.raises(ConfigError, match="may name code"):
        limits.check_text(text, "x.yaml")
    yaml.unsafe_load(text)
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


def test_a_preset_outside_of_its_folders_would_have_been_read(workplace: Path, monkeypatch: Any) -> None:
    (workplace / "conf/data").mkdir(parents=True)
    (workplace / "evil.yaml").write_text("name: evil\n")
    monkeypatch.chdir(workplace)
    with composing.hydra():
        assert "data/../..: " in composing.problem("data=../../evil")
        monkeypatch.setattr(files.CheckedFiles, "load_config", FileConfigSource.load_config)
        assert composing.config(["data=../../evil"]).data.name == "evil"


@pytest.mark.parametrize(("limit", "name"), [("BYTES", "size"), ("VALUES", "bomb"), ("DEPTH", "depth")])
def test_without_its_limit_a_file_would_have_been_taken(
    limit: str, name: str, monkeypatch: Any, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(HOSTILE[name][0][STUDY])
    with pytest.raises(ConfigError):
        limits.check(tmp_path / "x.yaml", "x.yaml")
    monkeypatch.setattr(limits, limit, 10**12)
    limits.check(tmp_path / "x.yaml", "x.yaml")


def test_only_the_person_reads_other_variables(workplace: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("DATA_ROOT", "here")
    words = ("tracking.run_name='${oc.env:DATA_ROOT}'",)
    with composing.hydra():
        assert "oc.env:DATA_ROOT: " in composing.problem(*words)
        monkeypatch.setenv("RUNNER_ENV", "DATA_ROOT")
        assert composing.settings(*words).tracking.run_name == "here"


def test_only_the_person_trusts_a_package(monkeypatch: Any) -> None:
    monkeypatch.setenv("RUNNER_TRUST", "")
    assert command_line.take_trust(["seed=1", "--trust", "mine", "--trust=ours", "-m"]) == ["seed=1", "-m"]
    assert permission.packages() == ["mine", "ours"]
    with pytest.raises(ConfigError, match="--trust: 'a/b' is not the name of a package"):
        command_line.take_trust(["--trust", "a/b"])


@pytest.mark.parametrize("file", ["x.npy", "xy.npz"])
def test_a_pickle_in_an_array_is_not_loaded(file: str, workplace: Path, monkeypatch: Any) -> None:
    canary = workplace / "touched"
    held = np.array([Touch(canary)], dtype=object)
    monkeypatch.chdir(workplace)
    (np.save if file == "x.npy" else np.savez)(file, **({"arr": held} if file == "x.npy" else {"x": held, "y": held}))
    words = ["data.x=x.npy", "data.y=x.npy"] if file == "x.npy" else ["data.path=xy.npz"]
    with composing.hydra():
        assert "without Python objects" in composing.problem("data=arrays", *words)
    assert not canary.exists()
    with Path(file).open("rb") as opened:
        found = np.load(opened, allow_pickle=True)
        _ = found if file == "x.npy" else found["x"]
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


class Evil(nn.Linear):
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("kind", ["state_dict", "model", "zip"])
def test_a_crafted_checkpoint_is_not_run(kind: str, workplace: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(workplace)
    file, canary = workplace / "state_dict.pt", workplace / "touched"
    held: Any = {"state_dict": {"0.weight": Touch(canary)}, "model": nn.Sequential(Evil(1, 1)), "zip": None}[kind]
    torch.save(held, file)
    if kind == "zip":
        _replace_pickle(file, pickle.dumps(Touch(canary)))
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load_state_dict(file)
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load_model(file, [nn.Sequential, nn.Linear])
    assert not canary.exists()
    torch.load(file, weights_only=False)
    assert canary.exists(), "nothing would have happened: the guard guards nothing"


def _replace_pickle(file: Path, held: bytes) -> None:
    """The archive as torch wrote it, with another pickle inside."""
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, held if name.endswith("data.pkl") else old.read(name))
