"""Files of version 0.1.0, written before modules moved: a model as a whole, and the state of a run at step 10 of 20.

They were made by `runner` with the configuration beside them; `outputs` are the model's for 0/64, 1/64, ..., 127/64.
"""

import json
from pathlib import Path

import pytest
import torch

from runner.model import stack
from runner.settings.trust import recorded_settings
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint

FOLDER = Path(__file__).parent / "version_0_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


@pytest.fixture
def run() -> Run:
    return prepare(recorded_settings.read((FOLDER / "config.yaml").read_text(), "config.yaml"), "old")


def test_a_model_with_all_layers_of_ours_is_loaded(run: Run) -> None:
    model = checkpoint.load_model(FOLDER / "model.pt", stack.classes(run.stack)).eval()
    outputs = model(torch.arange(128.0).reshape(2, 1, 8, 8) / 64)
    torch.testing.assert_close(outputs, torch.tensor(EXPECTED["outputs"]))
    run.close()


def test_training_goes_on_from_its_state(run: Run) -> None:
    model = checkpoint.load_model(FOLDER / "model.pt", stack.classes(run.stack))
    run.load_state_dict(model.state_dict(), checkpoint.load_training(FOLDER / "training.pt"))
    drive(run)
    losses = [value for _, value in run.history["train/loss"]][10:]
    assert losses == pytest.approx(EXPECTED["losses"], rel=1e-5)
    run.close()


@pytest.mark.parametrize("name", ["runner.layers.Residual", "runner.schedules.WarmupCosineLR", "runner.data.digits"])
def test_names_that_stand_in_files_of_users_are_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(__import__(module, fromlist=[attribute]), attribute)
