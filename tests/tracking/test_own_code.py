"""Code of one's own is kept with a run; a change is said, and the recorded code is used where it is trusted."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import runner as package
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.tracking import own_code
from tests.support.command import Done, newest, runner
from tests.support.sweeping import artifacts, families, family

FACTOR = "FACTOR = {factor}\n"
MINE = """
import torch
from torch import nn
from torchmetrics import MeanAbsoluteError

from experiments.parts.number import FACTOR
from runner.data import Data, Tensors


class Times(nn.Module):
    def forward(self, x):
        return x * FACTOR


class Weighted(nn.Module):
    def forward(self, output, target):
        return FACTOR * ((output - target) ** 2).mean()


class Off(MeanAbsoluteError):
    def compute(self):
        return super().compute() * FACTOR


def line(**further) -> Data:
    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    return Data(Tensors(x, FACTOR * x), Tensors(x[::3], FACTOR * x[::3]))


def curve(run):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.gca().plot([0, FACTOR])
    return figure
"""
STUDY = """
data: {{name: {data}}}
model: {{layers: [{{Linear: 2}}, {layer}, {{Linear: 1}}]}}
loss: {{name: {loss}}}
optimizer: {{name: SGD, lr: 0.05}}
metrics: {metrics}
plots: {plots}
trainer: {{epochs: 4, batch_size: 8, threads: 1}}
device: cpu
"""
PLAIN = {"data": "line, points: 16, valid: 6", "layer": "ReLU", "loss": "MSELoss", "metrics": "[]", "plots": "[]"}
#: A part of the study that is of one's own -> what of it is in experiments/mine.py.
PARTS = {
    "layer": "experiments.mine.Times",
    "data": "experiments.mine.line",
    "loss": "experiments.mine.Weighted",
    "metrics": "[experiments.mine.Off]",
    "plots": "[experiments.mine.curve]",
}
CHANGED = "code: experiments/parts/number.py is changed since run {run} was trained"


def furnish(place: Path, **own: str) -> None:
    (place / "experiments" / "parts").mkdir(parents=True, exist_ok=True)
    (place / "experiments" / "mine.py").write_text(MINE)
    write(place, 2.0)
    (place / "experiments" / "study.yaml").write_text(STUDY.format(**PLAIN | own))


def write(place: Path, factor: float) -> None:
    (place / "experiments" / "parts" / "number.py").write_text(FACTOR.format(factor=factor))


def store(place: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place / 'mlflow.db'}")


def folder(place: Path, run_id: str) -> Path:
    return artifacts(place, store(place).get_run(run_id))


def by_hand(place: Path, run_id: str, x: torch.Tensor, factor: float) -> torch.Tensor:
    """The outputs of Linear, Times, Linear."""
    w = torch.load(newest(folder(place, run_id), "best") / "state_dict.pt", weights_only=True)
    return ((x @ w["0.weight"].T + w["0.bias"]) * factor) @ w["2.weight"].T + w["2.bias"]


def figures(done: Done) -> dict[str, float]:
    return {k: float(v) for k, _, v in (word.partition("=") for word in done.last.split()[2:]) if "/" in k}


@pytest.fixture(scope="module")
def layered(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with a layer of one's own, whose number was changed afterwards from 2 to 5."""
    place = tmp_path_factory.mktemp("layered")
    shutil.copy(empty_store, place / "mlflow.db")
    furnish(place, layer=PARTS["layer"])
    run_id = runner("experiments=study", "checkpoint.every=1", cwd=place).run_id
    np.save(place / "in.npy", np.array([[0.5], [-0.25]], "float32"))
    write(place, 5.0)
    return place, run_id


@pytest.mark.parametrize("part", PARTS)
def test_every_file_that_a_run_has_imported_is_kept_with_its_digest(part: str, workplace: Path) -> None:
    furnish(workplace, **{part: PARTS[part]})
    (workplace / "experiments" / "unused.py").write_text("raise RuntimeError")
    run_id = runner("experiments=study", cwd=workplace).run_id
    kept, listed = folder(workplace, run_id) / "code", json.loads((folder(workplace, run_id) / "code.json").read_text())
    names = ["experiments/mine.py", "experiments/parts/number.py"]
    assert list(listed["files"]) == names
    assert sorted(p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()) == names
    for name in names:
        assert (kept / name).read_bytes() == (workplace / name).read_bytes()
    write(workplace, 5.0)
    done = runner("evaluate", run_id, "split=valid", cwd=workplace)
    assert CHANGED.format(run=run_id[:8]) in done.err


def test_a_run_without_code_of_its_own_keeps_none_and_says_nothing(workplace: Path) -> None:
    run_id = runner("experiments=linear_regression", "trainer.epochs=2", "plots=[]", cwd=workplace).run_id
    assert not (folder(workplace, run_id) / "code.json").exists()
    assert own_code.TAG not in store(workplace).get_run(run_id).data.tags
    assert runner("evaluate", run_id, "split=train", cwd=workplace).err == ""


X = torch.tensor([[0.5], [-0.25]])


@pytest.mark.parametrize(("code", "factor"), [("current", 5.0), ("recorded", 2.0)])
def test_predict_export_and_load_use_the_code_that_was_chosen(
    layered: tuple[Path, str], code: str, factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    place, run_id = layered
    wanted = by_hand(place, run_id, X, factor).numpy()
    said = CHANGED.format(run=run_id[:8]) if code == "current" else ""
    words = [f"code={code}"] if code == "recorded" else []
    done = runner("predict", run_id, "inputs=in.npy", "output=p.npy", "overwrite=true", *words, cwd=place)
    np.testing.assert_allclose(np.load(place / "p.npy"), wanted, rtol=1e-5)
    assert said in done.err
    assert bool(said) == bool(done.err)
    done = runner("export", run_id, "format=pt2", "output=m.pt2", "overwrite=true", *words, cwd=place)
    np.testing.assert_allclose(torch.export.load(place / "m.pt2").module()(X).detach().numpy(), wanted, rtol=1e-5)
    assert said in done.err
    assert bool(said) == bool(done.err)
    done = runner("explain", run_id, *words, cwd=place)
    assert said in done.err
    assert bool(said) == bool(done.err)


@pytest.mark.parametrize(("code", "factor"), [("current", 5.0), ("recorded", 2.0)])
def test_runner_load_leaves_what_was_imported(
    layered: tuple[Path, str], code: str, factor: float, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import sys

    place, run_id = layered
    monkeypatch.chdir(place)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "experiments"}
    for name in before:
        del sys.modules[name]
    use_folder(place / "experiments")
    try:
        finders, own = list(sys.meta_path), set(sys.modules)
        with torch.no_grad():
            found = package.load(run_id, f"sqlite:///{place}/mlflow.db", code=code)(X)
        torch.testing.assert_close(found, by_hand(place, run_id, X, factor))
        assert ("is changed" in capsys.readouterr().err) == (code == "current")
        assert sys.meta_path == finders
        if code == "recorded":
            assert {name for name in set(sys.modules) - own if name.startswith("experiments")} == set()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
            del sys.modules[name]
        sys.modules.update(before)


def test_evaluate_measures_with_the_recorded_data_loss_and_metric(workplace: Path) -> None:
    furnish(workplace, **{part: PARTS[part] for part in ("data", "loss", "metrics")})
    run_id = runner("experiments=study", cwd=workplace).run_id
    x = torch.linspace(-1, 1, 16).unsqueeze(1)[::3]
    w = torch.load(newest(folder(workplace, run_id), "best") / "state_dict.pt", weights_only=True)
    output = (x @ w["0.weight"].T + w["0.bias"]).relu() @ w["2.weight"].T + w["2.bias"]
    write(workplace, 5.0)
    for code, factor in (("recorded", 2.0), ("current", 5.0)):
        found = figures(runner("evaluate", run_id, "split=valid", f"code={code}", cwd=workplace))
        assert found["valid/loss"] == pytest.approx(float(factor * ((output - factor * x) ** 2).mean()), rel=1e-4)
        assert found["valid/Off"] == pytest.approx(float(factor * (output - factor * x).abs().mean()), rel=1e-4)


def test_a_file_that_was_deleted_is_named_with_its_remedy(layered: tuple[Path, str], workplace: Path) -> None:
    place, run_id = layered
    words = ("predict", run_id, "inputs=in.npy", "output=p.npy", f"tracking.uri=sqlite:///{place}/mlflow.db")
    np.save(workplace / "in.npy", X.numpy())
    done = runner(*words, cwd=workplace, code=2)
    assert f"code: experiments/mine.py is missing since run {run_id[:8]} was trained" in done.err
    assert "code=recorded" in done.err
    assert "Traceback" not in done.err
    assert runner(*words, "code=recorded", cwd=workplace).err == ""
    np.testing.assert_allclose(np.load(workplace / "p.npy"), by_hand(place, run_id, X, 2.0).numpy(), rtol=1e-5)


def test_what_was_put_back_is_not_reported(layered: tuple[Path, str]) -> None:
    place, run_id = layered
    write(place, 2.0)
    try:
        done = runner("predict", run_id, "inputs=in.npy", "output=b.npy", "overwrite=true", cwd=place)
    finally:
        write(place, 5.0)
    assert done.err == ""
    np.testing.assert_allclose(np.load(place / "b.npy"), by_hand(place, run_id, X, 2.0).numpy(), rtol=1e-5)


def test_reproduce_tells_of_changed_code_and_repeats_the_recorded(layered: tuple[Path, str]) -> None:
    place, run_id = layered
    done = runner("reproduce", run_id, cwd=place, code=1)
    assert CHANGED.format(run=run_id[:8]) in done.out
    assert done.last.startswith(f"reproduce {run_id} different")
    assert runner("reproduce", run_id, "code=recorded", cwd=place).last.startswith(f"reproduce {run_id} identical")


def test_a_run_goes_on_with_other_code_only_where_it_is_typed(workplace: Path) -> None:
    furnish(workplace, layer=PARTS["layer"])
    whole = runner("experiments=study", cwd=workplace).run_id
    half = runner("experiments=study", "trainer.epochs=2", cwd=workplace).run_id
    write(workplace, 5.0)
    refused = runner("resume", half, "trainer.epochs=4", cwd=workplace, code=2)
    assert f"code: experiments/parts/number.py is changed since run {half} began" in refused.err
    assert "code=recorded" in refused.err
    assert "code=current" in refused.err
    assert store(workplace).get_run(half).info.status == "FINISHED"
    runner("resume", half, "trainer.epochs=4", "code=recorded", cwd=workplace)
    weights = [torch.load(newest(folder(workplace, i)) / "state_dict.pt", weights_only=True) for i in (whole, half)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    tags = store(workplace).get_run(half).data.tags
    assert "drift.code" not in tags
    done = runner("resume", half, "trainer.epochs=5", "code=current", cwd=workplace)
    assert "it goes on with what is here" in done.err
    tags = store(workplace).get_run(half).data.tags
    assert tags["drift.code"] == "experiments/parts/number.py is changed after step 8"
    assert tags["runner.digest"] == ""
    assert runner("predict", half, "inputs=in.npy", "output=p.npy", cwd=workplace, code=2).err.startswith("inputs: ")
    assert runner("evaluate", half, "split=valid", cwd=workplace).err == "", (
        "the record is of the code that it ended with"
    )
    assert "was continued with changes (code: " in runner("reproduce", half, cwd=workplace, code=2).err


def test_recorded_code_that_is_damaged_is_not_imported(workplace: Path) -> None:
    furnish(workplace, layer=PARTS["layer"])
    run_id = runner("experiments=study", cwd=workplace).run_id
    kept = folder(workplace, run_id) / "code" / "experiments" / "parts" / "number.py"
    kept.write_text("import pathlib\npathlib.Path('CANARY').touch()\nFACTOR = 2.0\n")
    done = runner("evaluate", run_id, "split=valid", "code=recorded", cwd=workplace, code=2)
    assert "experiments/parts/number.py of run" in done.err
    assert "damaged" in done.err
    listed = folder(workplace, run_id) / "code.json"
    listed.write_text(listed.read_text().replace("experiments/parts", "../experiments/parts"))
    done = runner("evaluate", run_id, "split=valid", "code=recorded", cwd=workplace, code=2)
    assert "code.json of run" in done.err
    assert "damaged" in done.err
    assert not (workplace / "CANARY").exists()


def test_a_configuration_cannot_choose_recorded_code(workplace: Path) -> None:
    furnish(workplace)
    path = workplace / "experiments" / "study.yaml"
    path.write_text(path.read_text() + "code: recorded\n")
    assert "code" in runner("experiments=study", cwd=workplace, code=2).err


def test_a_word_that_is_no_choice(layered: tuple[Path, str]) -> None:
    place, run_id = layered
    for command in (["evaluate"], ["resume"], ["reproduce"], ["explain"]):
        done = runner(*command, run_id, "code=old", cwd=place, code=2)
        assert done.err.endswith("code: 'old' is not one of current, recorded\n"), command
    with pytest.raises(ConfigError, match="'old' is not one of"):
        package.load(run_id, f"sqlite:///{place}/mlflow.db", code="old")


def test_a_trusted_package_is_known_by_its_digest_and_version(workplace: Path) -> None:
    (workplace / "mylib").mkdir()
    (workplace / "mylib" / "__init__.py").write_text("from torch import nn\n\n\nclass Same(nn.Identity):\n    pass\n")
    furnish(workplace, layer="mylib.Same")
    env = {"RUNNER_TRUST": "mylib", "PYTHONPATH": str(workplace)}
    run_id = runner("experiments=study", cwd=workplace, env=env).run_id
    listed = json.loads((folder(workplace, run_id) / "code.json").read_text())
    assert listed["packages"] == {"mylib": ""}
    assert listed["files"]["mylib/__init__.py"]["kept"] is False
    assert not (folder(workplace, run_id) / "code").exists()
    (workplace / "mylib" / "__init__.py").write_text("from torch import nn\n\n\nclass Same(nn.Tanh):\n    pass\n")
    done = runner("evaluate", run_id, "split=valid", cwd=workplace, env=env)
    assert f"code: mylib/__init__.py is changed since run {run_id[:8]}" in done.err
    done = runner("evaluate", run_id, "split=valid", "code=recorded", cwd=workplace, env=env)
    assert "has kept no more than its digest" in done.err


SWEEP = ("-m", "experiments=study", "seed=1,2,3", "sweep.plots=false")


@pytest.mark.parametrize("launcher", ["one_by_one", "vectorized"])
def test_jobs_of_a_sweep_keep_their_code(workplace: Path, launcher: str) -> None:
    furnish(workplace, layer=PARTS["layer"])
    runner(*SWEEP, f"hydra/launcher={launcher}", cwd=workplace)
    files = [artifacts(workplace, job) / "code/experiments/parts/number.py" for job in family(workplace).jobs]
    assert [file.read_text() for file in files] == ["FACTOR = 2.0\n"] * 3


ONCE = """
from pathlib import Path

from torch import nn

from experiments.parts.number import FACTOR


class Times(nn.Module):
    # The second job fails, once.
    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed, self.calls = seed, 0

    def forward(self, x):
        self.calls += bool(self.training and not x.is_meta)
        if self.seed == 2 and self.calls == 6 and not Path("failed").exists():
            Path("failed").touch()
            raise RuntimeError("for once")
        return x * FACTOR
"""


@pytest.mark.parametrize(
    ("code", "launcher"), [pytest.param("recorded", "joblib", marks=pytest.mark.long), ("current", "basic")]
)
def test_a_sweep_goes_on_with_other_code_only_where_it_is_typed(workplace: Path, code: str, launcher: str) -> None:
    furnish(workplace, layer="{experiments.once.Times: {seed: '${seed}'}}")
    (workplace / "experiments" / "once.py").write_text(ONCE)
    chosen = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    words = (*SWEEP, *chosen, "checkpoint.every=1")
    runner(*words, cwd=workplace, code=1)
    assert family(workplace).statuses == ["FINISHED", "FAILED", "FINISHED"]
    write(workplace, 5.0)
    for again in (["resume", "last"], [*words, "sweep.resume=last"]):
        refused = runner(*again, cwd=workplace, code=2)
        assert "experiments/parts/number.py is changed since sweep" in refused.err, again
    runner("resume", "last", f"code={code}", cwd=workplace)
    found = family(workplace)
    assert found.statuses == ["FINISHED"] * 3
    drift = [job.data.tags.get("drift.code") for job in found.jobs]
    assert [value is not None for value in drift] == [False, code == "current", False]
    write(workplace, 2.0)
    runner(*SWEEP, cwd=workplace)
    equal = [one == other for one, other in zip(found.weights, families(workplace)[1].weights, strict=True)]
    assert equal == [True, code == "recorded", True]
