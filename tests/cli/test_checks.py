"""Wrong configurations: all problems at once, each with its key, what to do, and the file and line that said it."""

import contextlib
import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from runner.model import planning
from runner.settings.errors import ConfigError, ConfigErrors
from runner.settings.files import places
from runner.settings.memory import memory
from runner.settings.trust import secrets
from runner.training.checking import agreement, checks, cost
from runner.training.checking.schema import schema
from runner.training.parts import optimizers
from tests import mutations
from tests.conftest import settings
from tests.support import composing
from tests.support.command import runner
from tests.support.workplace import furnish

ADAM = optimizers.resolve({"name": "Adam", "lr": 1e-3})
#: Words of a command line, and the message. `python -m tests.cli.test_checks` writes it anew; read it then.
TABLE = Path(__file__).with_name("wrong.yaml")
WRONG: dict[str, str] = yaml.safe_load(TABLE.read_text())

STUDIES = {
    "optimizer:\n  lr: -1\n": "optimizer.lr: -1 is out of range; expected a number above 0 (experiments/x.yaml:2)",
    "trainer: {epoch: 2}\n": "trainer.epoch: there is no such key; did you mean 'epochs'? (experiments/x.yaml:1)",
    "defaults:\n  - override /data: lines\n": "data: there is no preset 'lines'; did you mean 'line'?"
    " (presets: arrays, diabetes, digits, huggingface, images, line, series, shards, table, text, values)"
    " (experiments/x.yaml:2)",
    "seed: 1\nmodel:\n  layers:\n    a: {Linear: 4}\n    b: {Linaer: 1}\n": "model.layers.b.Linaer: 'Linaer' is not a"
    " layer in runner.layers or torch.nn; did you mean 'Linear'? (experiments/x.yaml:5)",
    "data:\n  name: line\n  points: 10\n  sigma: -1\n": "data.sigma: -1 is out of range; expected a number of at least"
    " 0 (experiments/x.yaml:4)",
    "model: {knobs: {width: 3}, layers: [{Linear: '${model.knobs.widht}'}]}\n": "model.layers[0].Linear:"
    " ${model.knobs.widht} refers to an unknown key; correct it, or add that key",
    "plots: [loss_curve,\n  fitt]\n": "plots[1]: 'fitt' is not a plot in runner.plots; did you mean 'fit'?"
    " (experiments/x.yaml:2)",
    "seed: [1\n": "experiments/x.yaml:2: this is not YAML: did not find expected ',' or ']'; check brackets, quotes and"
    " indentation",
    "trainer:\n  epochs: abc\n  batchsize: 3\noptimizer: {lr: -1}\nplots: ${seed}\n": "trainer.epochs: 'abc' is not a"
    " whole number (experiments/x.yaml:2)\n"
    "trainer.batchsize: there is no such key; did you mean 'batch_size'? (experiments/x.yaml:3)\n"
    "plots: 0 is not a list, as in [a, b] (experiments/x.yaml:5)",
    "optimizer: [SGD]\nseed: abc\n": "optimizer: expected keys and values; a preset is chosen on the command line,"
    " optimizer=PRESET, or in the defaults of a study, override /optimizer: PRESET (experiments/x.yaml:1)\n"
    "seed: 'abc' is not a whole number (experiments/x.yaml:2)",
    "trainer: ${seed}\n": "trainer: '${seed}' is not a mapping; expected keys and values (experiments/x.yaml:1)",
    "- seed\n": "experiments/x.yaml:1: the file holds no keys; expected keys and values, as in `seed: 1`",
    "42\n": "experiments/x.yaml:1: the file holds no keys; expected keys and values, as in `seed: 1`",
    "seed: 1\nseed: 2\n": "experiments/x.yaml:2: duplicate 'seed'; remove one",
    "model: {layers: {null: ReLU}}\n": "experiments/x.yaml:1: a key is not a word here; expected `key: value`",
    "? [a, b]\n: 1\n": "experiments/x.yaml:1: a key is not a word here; expected `key: value`",
    "seed: 1\n---\nseed: 2\n": "experiments/x.yaml:2: a second document begins here; put it into a file of its own",
    "data: {points: !!binary aGVsbG8=}\n": "experiments/x.yaml:1: the tag 'tag:yaml.org,2002:binary' is not taken;"
    " write a plain value",
    "defaults: 3\n": "defaults: 3 is not a list; expected [override /data: digits] (experiments/x.yaml)",
    "defaults: digits_cnn\n": "defaults: 'digits_cnn' is not a list; expected [digits_cnn] (experiments/x.yaml)",
    "model: {name: experiments.mine.net, wdith: 4}\n": "model.layers[0].wdith: net takes no argument 'wdith'; did you"
    " mean 'width'? (it takes width) (experiments/x.yaml:1)",
    "defaults: [3]\n": "defaults[0]: 3 chooses no preset; expected `override /data: digits` (experiments/x.yaml)",
    "defaults: [x]\n": "defaults: studies inherit from each other in a circle, x -> x; take one of them out",
    "defaults: [_self_, _self_]\n": "defaults: duplicate _self_; remove one (in experiments/x.yaml)",
    "defaults: [/optimizer: adam]\n": "defaults[0]: `/optimizer: adam` chooses no preset in a study; expected `override"
    " /optimizer: adam` (experiments/x.yaml)",
    "defaults:\n  - optimizer: adam\n": "defaults[0]: `optimizer: adam` chooses no preset in a study; expected"
    " `override /optimizer: adam` (experiments/x.yaml)",
    "defaults: [/loss: null]\n": "defaults[0]: `/loss: null` chooses no preset in a study; expected `override /loss:"
    " null` (experiments/x.yaml)",
    "loss: null\n": "loss.name: missing; give the name of a class or function (experiments/x.yaml:1)",
    "defaults: [override /optimizer: null]\n": "optimizer.name: missing; give the name of a class or function",
    "metrics: [experiments.mine.net]\n": "metrics[0]: 'experiments.mine.net' is not a metric; one of your own is a"
    " class that inherits from torchmetrics.Metric (experiments/x.yaml:1)",
    "loss: {name: experiments.mine.Plain}\n": "loss.name: 'experiments.mine.Plain' is not a loss; one of your own is"
    " a function of (output, target), or a class that inherits from torch.nn.Module (experiments/x.yaml:1)",
    "optimizer: experiments.mine.net\n": "optimizer.name: 'experiments.mine.net' is not an optimizer; one of your own"
    " is a class that inherits from torch.optim.Optimizer (experiments/x.yaml:1)",
    "plots: [experiments.mine.Plain]\n": "plots[0]: 'experiments.mine.Plain' is not a plot; one of your own is a"
    " function draw(run) that returns a matplotlib figure (experiments/x.yaml:1)",
    "epochs: 3\n": "epochs: there is no such key; did you mean trainer.epochs? (experiments/x.yaml:1)",
    "model: mpl\n": "model: 'mpl' is not a mapping; a study chooses a preset in its defaults: `override /model: mpl`"
    " (experiments/x.yaml:1)",
    "defaults: [override /nothing: x]\n": "nothing: there are no such presets; did you mean 'tracking'? (in"
    " experiments/x.yaml)",
    "hydra: {launcher: 3}\n": "hydra.launcher: 3 is not a mapping; expected keys and values (in experiments/x.yaml)",
    "data: {name: experiments.mine.fails}\n": "data: 'fails' failed with ZeroDivisionError: division by zero"
    " (mine.py, line 5); expected runner.data.Data from these arguments (experiments/x.yaml:1)",
    "data: {name: experiments.mine.typo}\n": "data: Data(task='regresion') is not one of regression, binary,"
    " multiclass, multilabel; did you mean 'regression'? (experiments/x.yaml:1)",
}
MINE = """
import torch
from runner.data import Data, Tensors
def fails():
    return 1 / 0
def net(width):
    return torch.nn.Linear(1, width)
class Plain:
    pass
def typo():
    return Data(Tensors(torch.zeros(4, 1), torch.zeros(4, 1)), task="regresion")
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: Any) -> Path:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_holds_enough() -> None:
    assert len(WRONG) >= 120


def test_no_words_stand_in_the_table_twice() -> None:
    words = [key.value for key, _ in yaml.compose(TABLE.read_text()).value]
    assert [word for word, count in Counter(words).items() if count > 1] == []


#: Of these, torchvision's transforms are looked up.
TRANSFORMS = re.compile(r"data\.augment=\[\{?Random")


@pytest.mark.parametrize(
    "words", [pytest.param(w, marks=[pytest.mark.vision] if TRANSFORMS.search(w) else []) for w in WRONG]
)
def test_a_wrong_configuration_is_answered_with_this_message(words: str, there: Path) -> None:
    with composing.hydra():
        assert shown(composing.problem(*words.split()), there) == WRONG[words]


@pytest.mark.parametrize("text", STUDIES)
def test_a_message_names_the_file_and_the_line(text: str, there: Path, experiments: Path) -> None:
    (experiments / "x.yaml").write_text(text)
    (experiments / "mine.py").write_text(MINE)
    with composing.hydra():
        assert composing.problem("experiments=x") == STUDIES[text]


def shown(message: str, folder: Path) -> str:
    return re.sub(r"there are [\d.]+ .B", "there are SOME", message.replace(str(folder), "~"))


def test_all_problems_are_told_at_once() -> None:
    wrong = settings(epochs=-1, optimizer={"name": "SGD", "lr": -1}, plots=["fitt"], layers=["Lineer"], device="gpu")
    with pytest.raises(ConfigErrors) as error:
        checks.check(wrong)
    keys = [problem.key for problem in error.value.errors]
    assert keys == ["trainer.epochs", "optimizer.lr", "plots[0]", "device", "model.layers[0]"]


def test_all_that_is_wrong_is_told_though_hydra_stops_at_the_first(there: Path, experiments: Path) -> None:
    (experiments / "x.yaml").write_text("trainer: {epoch: 2}\nloss: {nam: x}\nseed: abc\n")
    with composing.hydra():
        found = composing.problem("experiments=x", "trainer.batchsize=2", "optimizer.lr=-1", "device=gpu")
        keys = ["trainer.epoch", "seed", "trainer.batchsize", "optimizer.lr", "loss.nam", "device"]
        assert [line.partition(": ")[0] for line in found.splitlines()] == keys
        assert composing.problem("trainer.epochs=2") == "", "what was left out has come back"


def test_the_command_line_tells_them_all(workplace: Path) -> None:
    done = runner("trainer.epoch=3", "seed=abc", "optimizer.lr=-1", cwd=workplace, code=2)
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == ["trainer.epoch", "seed", "optimizer.lr"]
    done = runner("-m", "seed=1,abc", "trainer.epochs=x,2", cwd=workplace, code=2)
    assert "job 2 (seed=abc trainer.epochs=x): seed: 'abc' is not" in done.err
    assert "\ntrainer.epochs: 'x' is not" in done.err


def test_a_users_source_is_not_read_when_something_is_wrong_already(there: Path, experiments: Path) -> None:
    (experiments / "mine.py").write_text(MINE)
    with pytest.raises(ConfigError) as error:
        checks.check(settings(epochs=-1, data={"name": "experiments.mine.fails"}))
    assert str(error.value).startswith("trainer.epochs: -1")
    assert "ZeroDivision" not in str(error.value)


# Cost


def test_multiply_adds_are_those_of_the_formulas() -> None:
    layers = [{"Conv2d": {"out_channels": 4, "kernel_size": 3, "padding": 1}}, "Flatten", {"Linear": 10}]
    plan = planning.plan(layers, torch.empty(2, 1, 8, 8, device="meta"))
    found = cost.cost(settings(), ADAM, plan, 2)
    assert found.multiply_adds == 9 * 4 * 64 + 256 * 10
    assert found.parameters == 4 * 9 + 4 + 2560 + 10
    assert (found.weights, found.gradients, found.optimizer) == tuple(4 * found.parameters * n for n in (1, 1, 2))
    assert found.activations == 4 * 2 * (256 + 256 + 10)


@pytest.mark.parametrize(
    ("optimizer", "states"), [("SGD", 0), ("Adam", 2), ("Adagrad", 1), ("Adamax", 2), ("LBFGS", 200)]
)
def test_what_an_optimizer_keeps_is_counted(optimizer: str, states: float) -> None:
    assert cost.state_per_parameter(optimizers.resolve({"name": optimizer, "lr": 1e-3})) == states


def test_a_model_that_does_not_fit_is_refused_with_the_numbers() -> None:
    there = memory(torch.device("cpu"))
    width = int((there / 12) ** 0.5)  # weights alone fit; with gradients and Adam's two they do not
    plan = planning.plan([{"Linear": width}, {"Linear": width}], torch.empty(2, 1, device="meta"))
    with pytest.raises(ConfigError, match=r"model.layers\[1\].Linear: weights .* gradients .* optimizer .* cpu has"):
        cost.check(settings(), ADAM, plan, 2, torch.device("cpu"))
    cost.check(settings(epochs=0), ADAM, plan, 2, torch.device("cpu"))


# Sweeps and commands


def test_a_sweep_with_a_wrong_job_does_not_begin(workplace: Path) -> None:
    before = (workplace / "mlflow.db").read_bytes()
    done = runner("-m", "optimizer.lr=0.001,0.002,-1", cwd=workplace, code=2)
    assert done.err.splitlines() == [
        "job 2 (optimizer.lr=-1): optimizer.lr: -1 is out of range; expected a number above 0",
        "1 of 3 jobs are wrong, and no job was begun; sweep.keep_going=true runs the others",
    ]
    assert (workplace / "mlflow.db").read_bytes() == before
    assert not (workplace / "outputs").exists()


def test_the_right_jobs_are_run_when_asked_for(workplace: Path) -> None:
    words = ("optimizer.lr=0.001,-1", "sweep.keep_going=true", "trainer.epochs=2", "plots=[]")
    done = runner("-m", *words, cwd=workplace, code=2)
    assert "left out: job 1 (optimizer.lr=-1" in done.err
    assert done.last.startswith("sweep ")
    assert " FINISHED " in done.last


def test_check_prints_the_layers_and_the_cost_and_makes_no_run(tmp_path: Path) -> None:
    done = runner("check", "experiments=digits_cnn", cwd=tmp_path)
    for part in ("conv2", "parameters     6,418", "multiply-adds  97,728", "600 = 30 epochs of 20, 1,257 examples"):
        assert part in done.out
    assert not (tmp_path / "mlflow.db").exists()
    assert "job 1 (seed=2): right" in runner("check", "-m", "seed=1,2", cwd=tmp_path).out
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("loss", "y"), [("SoftMarginLoss", [-1, 1] * 20), ("BCEWithLogitsLoss", [0.2, 0.7] * 20)])
def test_check_counts_the_classes_of_targets_that_are_no_indices(tmp_path: Path, loss: str, y: list[float]) -> None:
    np.savez(tmp_path / "xy.npz", x=np.zeros((40, 2), np.float32), y=np.array(y))
    done = runner("check", "data=arrays", "data.path=xy.npz", f"loss.name={loss}", "data.test=0", cwd=tmp_path)
    counted = [tuple(map(int, found)) for found in re.findall(r"'-?[01]': (\d+) train, (\d+) valid", done.out)]
    assert [sum(found) for found in counted] == [20, 20]


def test_a_sweep_over_nothing_is_refused(tmp_path: Path) -> None:
    done = runner("-m", "seed=range(3,1)", cwd=tmp_path, code=2)
    assert done.err == "seed: 'seed=range(3,1)' gives no value to sweep over; give at least one\n"


def test_a_sweep_of_too_many_jobs_is_refused(tmp_path: Path) -> None:
    done = runner("-m", "seed=range(1,1000000000)", cwd=tmp_path, code=2)
    assert "the sweep has more than 10,000 jobs" in done.err


# The schema


@pytest.fixture(scope="module")
def validator() -> Any:
    found = json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


FILES = [*places.conf().rglob("*.yaml"), *mutations.FOLDER.glob("*.yaml")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_schema_accepts_what_is_shipped(path: Path, validator: Any) -> None:
    validator.validate(OmegaConf.to_container(OmegaConf.load(path)))  # as editors read it: 1e-3 is a number
    if path.is_relative_to(places.conf()):
        first = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))  # Hydra's
        assert "# yaml-language-server: $schema=" in first


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {epoch: 3}",
        "trainer: {epochs: -1}",
        "optimizer: {name: Adm}",
        "optimizer: {name: SGD, learning_rate: 1}",
        "optimizer: {name: SGD, lr: -1}",
        "optimizer: {SGD: {learning_rate: 1}}",
        "scheduler: {StepLR: {gamma: no}}",
        "model: {layers: [Lineer]}",
        "model: {layers: {a: {Linear: {out_featurs: 1}}}}",
        "model: {layers: {a: {Conv2d: {out_channels: 0, kernel_size: 3}}}}",
        "name: MSELos",
        "plots: [fitt]",
        "metrics: [Acuracy]",
    ],
)
def test_the_schema_refuses_what_is_wrong(text: str, validator: Any) -> None:
    assert not validator.is_valid(yaml.safe_load(text))


def test_an_editor_completes_components_that_are_written_as_layers(validator: Any) -> None:
    for text in ("optimizer: {AdamW: {lr: 0.001}}", "loss: {HuberLoss: {delta: 2}}", "loss: {CrossEntropyLoss: null}"):
        validator.validate(yaml.safe_load(text))
    defs = validator.schema["$defs"]
    assert {"lr", "betas", "groups"} <= defs["optimizer"]["properties"]["AdamW"]["properties"].keys()
    assert "step_size" in defs["scheduler"]["properties"]["StepLR"]["properties"]
    assert "digits" not in defs["data"]["properties"]  # a source has its name beside its arguments


def test_sparse_gradients_and_optimizers_fit_each_other() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.name: SparseAdam takes sparse gradients only"):
        checks.check(settings(optimizer={"name": "SparseAdam", "lr": 0.1}))


def test_a_loss_of_ones_own_does_not_mix_examples() -> None:
    loss = nn.PoissonNLLLoss()
    x, y = torch.empty(8, 1, device="meta"), torch.empty(8, device="meta")
    with pytest.raises(ConfigError, match="every example against every other"):
        agreement.check_loss(loss, x, y, 0)
    agreement.check_loss(loss, x, y.unsqueeze(1), 0)


def test_secrets_are_not_in_parameters() -> None:
    assert secrets.without({"uri": "http://a:b@c", "password": "x", "n": 3}) == {
        "uri": "http://***@c",
        "password": "***",
        "n": 3,
    }


def main() -> None:
    """Write the table of messages anew."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), composing.hydra():
        furnish(Path(folder))
        found = {words: shown(composing.problem(*words.split()), Path(folder).resolve()) for words in WRONG}
    text = yaml.safe_dump(found, sort_keys=False, width=120, allow_unicode=True)
    TABLE.write_text(f"{TABLE.read_text().splitlines()[0]}\n{text}")


if __name__ == "__main__":
    main()


def test_check_reads_what_training_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """To the last value of arrays, and the last pixel of images: what it passes, trains."""
    from runner.commands import check as command
    from runner.settings.context import Context

    monkeypatch.chdir(tmp_path)
    x = np.ones((40, 3), dtype="float32")
    x[39, 2] = np.nan
    np.savez("nan.npz", x=x, y=np.arange(40) % 2)
    given = settings(
        data={"name": "arrays", "path": "nan.npz"}, layers=[{"Linear": 2}], loss={"name": "CrossEntropyLoss"}
    )
    checks.check(given)
    with pytest.raises(ConfigError, match=r"x\[39, 2\] is nan"):
        command.with_settings(given, Context("x"))
    np.savez("nan.npz", x=np.ones_like(x), y=np.arange(40) % 2)
    assert command.with_settings(given, Context("x")).code == 0
    assert "right" in capsys.readouterr().out
