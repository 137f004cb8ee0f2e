"""Every command of an experiment file is run, and the numbers that follow it are checked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from runner.commands import names
from tests.support.command import newest, runner
from tests.support.expected import Command, commands, read
from tests.support.experiments import FILES, marks

COMMANDS = [(path, command) for path in FILES for command in commands(path)]
CASES = [pytest.param(path, command, marks=marks(path)) for path, command in COMMANDS]


def is_training(command: Command) -> bool:
    """One run, rather than a sweep or a look at something."""
    return command.words[0] not in ("-m", "--multirun", *names())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_experiment_opens_with_its_question_a_command_and_numbers(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert commands(path)[0].words[0] == f"experiments={path.stem}"
    assert commands(path)[0].promises


@pytest.mark.parametrize(("path", "command"), CASES, ids=lambda v: v.stem if isinstance(v, Path) else "")
def test_an_experiment_keeps_what_its_opening_comment_promises(path: Path, command: Command, workplace: Path) -> None:
    if any("last" in word for word in command.words):  # the run of the command before it
        runner(*COMMANDS[COMMANDS.index((path, command)) - 1][1].words, cwd=workplace)
    done = runner(*command.words, cwd=workplace)
    if not is_training(command):
        return
    run = MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_run(done.run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert run.info.status == "FINISHED"
    for promise in command.promises:
        found = measured(promise.name, run, artifacts)
        assert promise.holds(found), f"{promise.name} is {found}, promised {promise}"
    for spec in yaml.safe_load((artifacts / "config.yaml").read_text())["plots"]:
        plot = spec if isinstance(spec, str) else next(iter(spec))  # one with an interval
        assert (artifacts / "plots" / f"{plot.rpartition('.')[2]}.png").stat().st_size > 5000
    [predictions] = artifacts.glob("predictions.np*")
    arrays = np.load(predictions, allow_pickle=False)
    padded = "collate:" in path.read_text()  # outputs for each place are filled up with NaN
    assert all(
        np.isfinite(one).all() or (padded and one.ndim > 2 and np.isfinite(one[..., 0]).all())
        for one in ([arrays] if predictions.suffix == ".npy" else arrays.values())
    )
    if (metric := run.data.tags.get("best.metric")) is not None:
        again = runner("evaluate", done.run_id, f"split={metric.partition('/')[0]}", cwd=workplace)
        assert f"{metric}={float(run.data.tags['best.value'])!r}" in again.last.split()


def measured(name: str, run: Run, artifacts: Path) -> Any:
    """What a run has under the name of a promise."""
    if name.startswith("outputs/"):
        output = np.load(artifacts / f"{name.removesuffix('.shape')}.npy", allow_pickle=False)
        return output.shape if name.endswith(".shape") else output
    weights = torch.load(newest(artifacts) / "state_dict.pt", weights_only=True)
    return weights[name].numpy() if name in weights else run.data.metrics[name]


@pytest.mark.parametrize(
    ("line", "kept", "broken"),
    [
        ("0.weight = 0.5 +- 0.005", 0.504, 0.506),
        ("test/Accuracy >= 0.975", 0.98, 0.97),
        ("train/loss <= 2e-4", 1e-4, 3e-4),
        ("outputs/pool = [[6, 8], [16, 18]] +- 1e-6", [[[[6, 8], [16, 18]]]], [[6, 8], [16, 18.1]]),
        ("outputs/pool = [[6, 8], [16, 18]] +- 1e-6", [[6, 8], [16, 18]], [6, 8]),
        ("outputs/pool = 9 +- 1e-6", [[9, 9]], [[9, 8]]),
        ("outputs/pool.shape = [1, 2, 4]", (1, 2, 4), (1, 2, 5)),
    ],
)
def test_a_promise_can_be_broken(line: str, kept: Any, broken: Any) -> None:
    promise = read(f"#   {line}")
    assert promise is not None
    assert promise.holds(kept)
    assert not promise.holds(broken)
