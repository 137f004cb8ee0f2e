"""Weights to start from in a file: which names and shapes fit, what is refused, and that nothing in a file is run."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from tests.conftest import settings

LAYERS = {"lin1": {"Linear": 4}, "norm": "BatchNorm1d", "head": {"Linear": 1}}


def made(start: Any = None, seed: int = 0) -> Run:
    return prepare(settings(model=Model(LAYERS, start=start), seed=seed), "test")


@pytest.fixture
def weights() -> dict[str, Tensor]:
    run = made(seed=7)
    drive(run)
    return checkpoint.copy(run.model)


def saved(value: Any, path: Path) -> dict[str, Any]:
    torch.save(value, path)
    return {"file": str(path)}


def test_all_weights_are_those_of_the_file_and_the_draws_are_as_without(tmp_path: Path, weights: dict[str, Tensor]):
    run, plain = made(saved(weights, tmp_path / "w.pt")), made()
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())
    assert torch.equal(run.ready["torch"], plain.ready["torch"])
    assert run.start.facts == {"file": str(tmp_path / "w.pt"), "sha256": checkpoint.digest(weights)}


def test_only_the_layers_that_are_named_are_filled(tmp_path: Path, weights: dict[str, Tensor]):
    del weights["head.bias"]  # of a layer that is not asked for
    run, plain = made(saved(weights, tmp_path / "w.pt") | {"layers": ["lin1", "norm"]}), made()
    own = run.model.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in own if not name.startswith("head"))
    assert torch.equal(run.model.head.weight, plain.model.head.weight)


def test_safetensors_and_the_state_dict_inside_of_a_larger_file_are_the_same(
    tmp_path: Path, weights: dict[str, Tensor]
):
    save = pytest.importorskip("safetensors.torch").save_file
    save({name: value.contiguous() for name, value in weights.items()}, tmp_path / "w.safetensors")
    first = made({"file": str(tmp_path / "w.safetensors")})
    second = made(saved({"epoch": 3, "state_dict": weights}, tmp_path / "w.pt"))
    assert first.start.facts["sha256"] != ""
    assert all(map(torch.equal, first.model.state_dict().values(), second.model.state_dict().values()))


def test_beginnings_of_names_are_renamed(tmp_path: Path, weights: dict[str, Tensor]):
    theirs = {f"module.{name.replace('lin1', 'fc')}": value for name, value in weights.items()}
    run = made(saved(theirs, tmp_path / "w.pt") | {"rename": {"module.": "", "module.fc": "lin1"}})
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())


def test_what_only_one_side_has_is_left_where_it_is_not_strict(tmp_path: Path, weights: dict[str, Tensor]):
    theirs = {"lin1.weight": weights["lin1.weight"], "fc.weight": torch.zeros(3)}
    run, plain = made(saved(theirs, tmp_path / "w.pt") | {"strict": False}), made()
    assert torch.equal(run.model.lin1.weight, weights["lin1.weight"])
    assert torch.equal(run.model.lin1.bias, plain.model.lin1.bias)


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        ({"fc.weight": torch.zeros(1)}, {}, "they have fc.weight"),
        ({"fc.weight": torch.zeros(1)}, {"rename": {"fx": "lin1"}}, "did you mean 'fc'"),
        ({"head.weight": torch.zeros(2, 4)}, {"strict": False}, r"head.weight is \(2, 4\) there and \(1, 4\) here"),
        ({"head.weight": None}, {}, "they lack head.weight"),
        ({"head.weight": None}, {"layers": ["head"]}, "they lack head.weight"),
        ({}, {"layers": ["heads"]}, "did you mean 'head'"),
        ({}, {"sha256": "0" * 64}, "these weights are others"),
        ({}, {"checkpoint": "last"}, "is of a run"),
        ({}, {"run": "last"}, "one of run and file"),
        ({}, {"strickt": False}, "did you mean 'strict'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], change: dict[str, Any], more: dict[str, Any], words: str
):
    chosen = {name: value for name, value in (weights | change).items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        made(saved(chosen, tmp_path / "w.pt") | more)


class Trap:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("canary"),)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"lin1.weight": Trap()}))
    with pytest.raises(ConfigError, match=r"model\.start\.file"):
        made({"file": "w.pt"})
    torch.save({"lin1.weight": Trap()}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"model\.start\.file"):
        made({"file": "w.pt"})
    assert not Path("canary").exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # the trap works
    assert Path("canary").exists()
