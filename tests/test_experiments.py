"""Every experiment file is run by its own command and checked against its own numbers."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from tests.command import runner
from tests.expected import LINE, Promise, promises

FOLDER = Path(__file__).parent.parent / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))


def command(path: Path) -> list[str]:
    """The first command of the opening comment."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("#   runner "))
    return shlex.split(line.removeprefix("#   runner "))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_experiment_keeps_what_its_opening_comment_promises(path: Path, workplace: Path) -> None:
    assert path.read_text().startswith("# "), "an experiment opens with its question"
    assert promises(path), "an experiment says which numbers to expect"

    done = runner(*command(path), cwd=workplace)

    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    run = client.get_run(done.run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    weights = torch.load(artifacts / "checkpoints/last/state_dict.pt", weights_only=True)
    assert run.info.status == "FINISHED"
    for promise in promises(path):
        found = weights[promise.name].item() if promise.name in weights else run.data.metrics[promise.name]
        assert promise.holds(found), f"{promise.name} is {found}, promised {promise}"
    for plot in run.data.params["plots"].strip("[]").replace('"', "").split(", "):
        assert (artifacts / "plots" / f"{plot}.png").stat().st_size > 5000
    assert np.isfinite(np.load(artifacts / "predictions.npy", allow_pickle=False)).all()


def test_a_promise_can_be_broken() -> None:
    name, relation, value, tolerance = LINE.match("#   0.weight = 0.5 +- 0.005").groups()
    promise = Promise(name, relation, float(value), float(tolerance))
    assert promise.holds(0.504)
    assert not promise.holds(0.506)
    assert not Promise("a", ">=", 0.975, 0).holds(0.97)
    assert not Promise("a", "<=", 2e-4, 0).holds(3e-4)
