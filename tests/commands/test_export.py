"""`runner export`: the file holds what torch computes, at any batch size."""

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import runner as package
from runner.commands import _outputs
from runner.settings.errors import ConfigError
from runner.tracking.read import checkpoints, export, recall
from runner.tracking.read.export import ExportError, Source
from runner.tracking.read.load import Standardize
from tests.support.command import runner


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A convolutional network that was trained for an epoch."""
    workplace = tmp_path_factory.mktemp("trained")
    shutil.copy(empty_store, workplace / "mlflow.db")
    words = ("experiments=save_and_load", "trainer.epochs=1", "plots=[]", "metrics=[]")
    return workplace, runner(*words, cwd=workplace).run_id


def model(workplace: Path, checkpoint: str = "best") -> nn.Module:
    return package.load("last", f"sqlite:///{workplace}/mlflow.db", checkpoint)


def by_pt2(path: Path, x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Tensor = torch.export.load(path).module()(x)
    return found


def by_onnx(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["output"], {"input": x.numpy()})[0])


READERS = {"pt2": by_pt2, "onnx": by_onnx}


@pytest.mark.parametrize("name", READERS)
@torch.no_grad()
def test_what_is_exported_computes_what_torch_does(name: str, trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    done = runner("export", run_id[:8], f"format={name}", f"output=m.{name}", cwd=workplace)
    assert "inputs: float32 of shape (N, 1, 8, 8)" in done.out
    assert "classes: 0, 1, 2" in done.out
    for size in (1, 7):
        x = torch.rand(size, 1, 8, 8)
        torch.testing.assert_close(READERS[name](workplace / f"m.{name}", x), model(workplace)(x), rtol=1e-4, atol=1e-5)


def test_safetensors_holds_the_weights_and_the_configuration_stands_beside(trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    uri = f"sqlite:///{workplace}/mlflow.db"
    runner("export", "last", "format=safetensors", "output=m.safetensors", "checkpoint=last", cwd=workplace)
    wanted, found = checkpoints.weights(uri, run_id, "last"), load_file(workplace / "m.safetensors")
    assert set(wanted) == set(found)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert yaml.safe_load((workplace / "m.yaml").read_text())["data"]["name"] == "digits"
    with safe_open(workplace / "m.safetensors", "pt") as file:
        assert file.metadata()["run"] == run_id


@torch.no_grad()
def test_raw_columns_are_standardized_inside_of_the_file(workplace: Path) -> None:
    words = "experiments=diabetes trainer.epochs=2 plots=[] metrics=[]"
    run_id = runner(*words.split(), cwd=workplace).run_id
    uri = f"sqlite:///{workplace}/mlflow.db"
    notes = recall.data(uri, run_id)["notes"]
    x = torch.tensor(notes["mean"]) + torch.randn(3, 10, dtype=torch.float64) * torch.tensor(notes["std"])
    done = runner("export", "last", "format=pt2", "output=m.pt2", cwd=workplace)
    assert "inputs: float64 of shape (N, 10), not standardized" in done.out
    found, wanted = by_pt2(workplace / "m.pt2", x), package.load(run_id, uri)(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    scaled = ((x - torch.tensor(notes["mean"])) / torch.tensor(notes["std"])).float()
    torch.testing.assert_close(found, package.load(run_id, uri, raw=False)(scaled))
    done = runner("export", "last", "format=safetensors", "output=m.safetensors", cwd=workplace)
    assert "inputs: float32 of shape (N, 10), standardized" in done.out


MODELS: dict[str, tuple[nn.Module, Tensor]] = {
    "standardize": (nn.Sequential(Standardize([1.0, 2.0], [1.0, 3.0]), nn.Linear(2, 1)), torch.empty(2, 2)),
    "embedding": (
        nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2)),
        torch.empty(2, 4, dtype=torch.int64),
    ),
    "norm": (
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.GELU(), nn.LayerNorm(6), nn.Dropout()),
        torch.empty(2, 4),
    ),
}


def source(name: str) -> Source:
    torch.manual_seed(0)
    module, example = MODELS[name]
    notes = {"mean": [1.0, 2.0], "std": [1.0, 3.0]} if name == "standardize" else None
    return Source(module.eval(), export.inputs(module, example, notes), "seed: 0\n", {"run": "r"})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_models_of_several_kinds_are_written_to_every_format(name: str, tmp_path: Path) -> None:
    for format in export.names():
        kind: Any = export.find(format)
        path = tmp_path / f"m{kind.SUFFIX}"
        kind.write(source(name), path)
        kind.check(source(name), path)
        assert path.stat().st_size > 0, format


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", export.names())
def test_a_file_with_other_weights_does_not_pass_the_check(format: str, tmp_path: Path) -> None:
    kind: Any = export.find(format)
    path, given = tmp_path / f"m{kind.SUFFIX}", source("norm")
    kind.write(given, path)
    with torch.no_grad():
        next(given.model.parameters())[0] += 0.01
    with pytest.raises(ExportError):
        kind.check(given, path)


NOISE = """
import torch
from torch import nn

class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)
"""


def test_a_model_that_gives_something_else_every_time_leaves_no_file(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/mine.py").write_text(NOISE)
    runner("model.layers=[{Linear:1},experiments.mine.Noise]", "trainer.epochs=1", "plots=[]", cwd=workplace)
    done = runner("export", "last", "format=pt2", "output=m.pt2", cwd=workplace, code=1)
    assert "apart from torch's" in done.err
    assert "Traceback" not in done.err
    assert not list(workplace.glob("*m.*pt2"))


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"format: onnx needs onnxscript: pip install 'runner-torch\[onnx\]'"):
        export.find("onnx")
    export.find("safetensors")


WRONG = {
    "format=onx output=m.onnx": ["format: 'onx' is not one of onnx, pt2, safetensors; did you mean 'onnx'?"],
    "format=pt2 output=m.onnx": ["output: 'm.onnx' ends in '.onnx'; expected .pt2"],
    "format=pt2 output=no/m.pt2": ["output: there is no folder 'no'"],
    "format=pt2 output=there.pt2": ["output: 'there.pt2' exists already", "overwrite=true"],
    "format=safetensors output=there.safetensors": ["output: 'there.yaml' exists already"],
    "format=pt2 output=new.pt2 checkpoint=first": ["checkpoint: 'first' is not one of best, last"],
    "output=new.pt2": ["export needs format=..."],
}


def test_export_says_what_is_wrong_and_writes_nothing(trained: tuple[Path, str]) -> None:
    workplace, _ = trained
    for name in ("there.pt2", "there.yaml"):
        (workplace / name).write_text("mine")
    for words, parts in WRONG.items():
        done = runner("export", "last", *words.split(), cwd=workplace, code=2)
        for part in parts:
            assert part in done.err, (words, done.err)
    assert not list(workplace.glob("*new*"))
    assert not (workplace / "there.safetensors").exists()
    runner("export", "last", "format=safetensors", "output=there.safetensors", "overwrite=true", cwd=workplace)
    assert (workplace / "there.yaml").read_text() != "mine"
    assert (workplace / "there.pt2").read_text() == "mine"


def test_the_classes_of_each_target_are_named_and_of_a_multilabel_one_the_labels() -> None:
    several = {"task": {"kind": "binary", "size": "regression"}, "classes": {"kind": ["cat", "dog"], "size": []}}
    assert _outputs.classes(several) == ["classes of kind: cat, dog"]
    assert _outputs.classes({"task": "multilabel", "classes": ["red", "blue"]}) == ["labels: red, blue"]
    assert _outputs.classes({"task": "regression", "classes": []}) == []
