"""`runner predict` and `evaluate` on other files: encoded by the record, with classes, probabilities and names."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn

import runner as package
from runner.commands import predict
from runner.data import Data, _inputs
from runner.data import _nests as nests
from runner.data._tables.selection import typed_override
from runner.data.table import table
from runner.model import predicted
from runner.settings.errors import ConfigError
from runner.tracking.identity import data_facts
from runner.training.checking.rows import checked
from tests.data.test_data import refused
from tests.support import components
from tests.support.command import Done, runner
from tests.support.composing import hydra, settings

WORDS = "trainer.epochs=3 plots=[] optimizer=adam optimizer.lr=0.05 trainer.threads=1"
EXPERIMENTS = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("*.yaml"))


def people(n: int = 60, seed: int = 0) -> pandas.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "home": rng.choice(["1", "2", "north"], n, p=[0.2, 0.2, 0.6]),
            "weight (kg)": rng.normal(70, 12, n),
            "member": rng.random(n) < 0.5,
            "sex": rng.choice(["f", "m"], n),
        }
    )
    return frame.assign(grade=np.where(frame["age"] + rng.normal(0, 9, n) > 50, "high", rng.choice(["low", "mid"], n)))


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, str, pandas.DataFrame]:
    """A workplace, and a run that was trained there on people.csv."""
    people().to_csv(place / "people.csv")
    words = f"data=table data.path=people.csv data.target=grade loss=cross_entropy metrics=[Accuracy] {WORDS}"
    run_id = runner(*words.split(), "model.layers=[{Linear: 3}]", cwd=place).run_id
    runner("predict", run_id, "inputs=people.csv", "output=all.csv", cwd=place)
    return place, run_id, pandas.read_csv(place / "all.csv")


def figures(done: Done) -> dict[str, float]:
    return {k: float(v) for k, _, v in (word.partition("=") for word in done.last.split()[2:]) if "/" in k}


def test_a_line_for_each_row_names_the_class_and_every_probability(trained):
    place, run_id, found = trained
    model = package.load(run_id, f"sqlite:///{place}/mlflow.db", raw=False)
    data = table(str(place / "people.csv"), "grade", valid=0, test=0)
    notes = json.loads(next(place.glob(f"mlruns/*/{run_id}/artifacts/data.json")).read_text())["notes"]
    rows = np.asarray(data.train.x, dtype=np.float64) * data.notes["std"] + data.notes["mean"]
    x = torch.from_numpy((rows - notes["mean"]) / notes["std"]).float()
    shares = model(x).softmax(1).detach().numpy()
    assert list(found) == ["row", "predicted", "probability_high", "probability_low", "probability_mid"]
    assert found["row"].tolist() == list(range(60))
    np.testing.assert_allclose(found.iloc[:, 2:], shares, atol=1e-6)
    assert found["predicted"].tolist() == np.array(["high", "low", "mid"])[shares.argmax(1)].tolist()


OTHERS = {
    "one.csv": lambda frame: frame[frame["sex"] == "f"],
    "numbers.csv": lambda frame: frame[frame["home"] != "north"],  # of its texts those remain that look like numbers
    "member.csv": lambda frame: frame[frame["member"]],
    "order.csv": lambda frame: frame[list(frame.columns[::-1])].assign(more=1.5, note="", day="2024-01-01"),
    "bare.csv": lambda frame: frame.drop(columns="grade"),
    "single.csv": lambda frame: frame.iloc[[7]],
    "bare.parquet": lambda frame: frame.drop(columns="grade").sample(frac=1, random_state=2),
}


@pytest.mark.parametrize("name", OTHERS)
def test_rows_of_another_file_get_the_numbers_that_they_have_in_the_first(trained, name):
    place, run_id, wanted = trained
    rows = OTHERS[name](people())
    rows.to_parquet(place / name) if name.endswith("parquet") else rows.to_csv(place / name, index=False)
    given = read_rows(place, run_id, place / name)
    everything = read_rows(place, run_id, place / "people.csv")
    assert torch.equal(given, everything[rows.index.tolist()])
    if name in ("one.csv", "bare.parquet"):
        runner("predict", run_id, f"inputs={name}", "output=o.csv", "overwrite=true", cwd=place)
        found = pandas.read_csv(place / "o.csv")
        pandas.testing.assert_frame_equal(
            found.iloc[:, 1:], wanted.iloc[rows.index, 1:].reset_index(drop=True), rtol=1e-5
        )


def read_rows(place: Path, run_id: str, path: Path) -> Tensor:
    recorded = json.loads(next(place.glob(f"mlruns/*/{run_id}/artifacts/data.json")).read_text())
    return torch.cat(list(_inputs.read(str(path), recorded).batches))


@pytest.mark.parametrize("name", ["high.csv", "few.csv"])
def test_evaluate_on_another_file_gives_the_figures_of_its_rows(trained, name):
    place, run_id, wanted = trained
    frame = people()
    rows = frame[frame["grade"] == "high"] if name == "high.csv" else frame[frame["home"] == "1"]
    rows.to_csv(place / name, sep=";", index=False)
    done = runner("evaluate", run_id, f"data.path={name}", "split=train", "data.valid=0", "data.test=0", cwd=place)
    found, shares = figures(done), wanted.iloc[rows.index, 2:].to_numpy()
    loss = log_loss(rows["grade"], shares / shares.sum(1, keepdims=True), labels=["high", "low", "mid"])
    assert found["train/loss"] == pytest.approx(loss, rel=1e-4)
    right = accuracy_score(rows["grade"], wanted["predicted"].iloc[rows.index])
    assert found["train/Accuracy"] == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.assign(sex="x"), ["column 'sex' holds 'x' in row 0; expected one of 'f', 'm'"]),
        (lambda f: f.assign(sex="F"), ["holds 'F' in row 0", "did you mean 'f'"]),
        (lambda f: f.drop(columns="sex"), ["there is no column 'sex'"]),
        (lambda f: f.assign(age="1,234"), ["column 'age' holds numbers written as text", "'1,234' in row 0"]),
        (lambda f: f.assign(age="old"), ["column 'age' holds text, and the model was trained with numbers"]),
        (lambda f: f.assign(member="yes"), ["column 'member' holds text, and the model was trained with true and"]),
        (lambda f: f.assign(age=np.nan), ["values are missing: 'age' in 60"]),
    ],
)
def test_rows_that_the_model_cannot_know_are_refused(trained, change, words):
    place, run_id, _ = trained
    change(people()).to_csv(place / "wrong.csv", index=False)
    recorded = json.loads(next(place.glob(f"mlruns/*/{run_id}/artifacts/data.json")).read_text())
    with refused("inputs", *words):
        _inputs.read(str(place / "wrong.csv"), recorded)
    with refused("data.features", *words):
        components.data({"name": "table", "path": str(place / "wrong.csv"), "target": "grade"}, noted=recorded)


def test_classes_and_targets_that_the_model_cannot_know_are_refused(trained):
    place, run_id, _ = trained
    recorded = json.loads(next(place.glob(f"mlruns/*/{run_id}/artifacts/data.json")).read_text())
    people().assign(grade="top").to_csv(place / "top.csv", index=False)
    done = runner("evaluate", run_id, "data.path=top.csv", cwd=place, code=2)
    assert "data.target: column 'grade' holds 'top' in row 0; expected one of 'high', 'low', 'mid'" in done.err
    with refused("data.target", "'age', and the model was trained to predict 'grade'"):
        components.data({"name": "table", "path": str(place / "people.csv"), "target": "age"}, noted=recorded)
    done = runner("predict", run_id, "inputs=nothing", "output=x.csv", cwd=place, code=2)
    assert "inputs: there is no 'nothing'" in done.err
    Image.new("RGB", (4, 4)).save(place / "a.png")
    done = runner("predict", run_id, "inputs=a.png", "output=x.csv", cwd=place, code=2)
    assert "was not trained on images: give a .csv or .parquet file with its columns" in done.err


def test_several_targets_are_predicted_under_their_names(place):
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(40, 3)), columns=["a", "length (cm)", "2"])
    frame.to_csv(place / "numbers.csv", index=False)
    words = ["data=table", "data.path=numbers.csv", 'data.target=["length (cm)",2]', "model.layers=[{Linear: 2}]"]
    run_id = runner(*words, *WORDS.split(), cwd=place).run_id
    frame[["a"]].to_csv(place / "a.csv", index=False)
    for output in ("numbers_out.csv", "numbers_out.npy"):
        runner("predict", run_id, "inputs=a.csv", f"output={output}", cwd=place)
    found = pandas.read_csv(place / "numbers_out.csv")
    assert list(found) == ["row", "length (cm)", "2"]
    model = package.load(run_id, f"sqlite:///{place}/mlflow.db")
    wanted = model(torch.tensor(frame[["a"]].to_numpy())).detach().numpy()
    np.testing.assert_allclose(found.iloc[:, 1:], wanted, rtol=1e-6)
    np.testing.assert_array_equal(np.load(place / "numbers_out.npy"), wanted)


def test_a_folder_of_images_is_predicted_by_file_name(place):
    rng = np.random.default_rng(0)
    for kind, low in (("cat", 0), ("dog", 128)):
        (place / "photos" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(low, low + 127, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "photos" / kind / f"{i}.png")
    (place / "photos" / "notes.txt").write_text("no image")
    words = "data=images data.path=photos loss=cross_entropy model.layers=[Flatten,{Linear:2}]"
    run_id = runner(*words.split(), *WORDS.split(), cwd=place).run_id
    done = runner("predict", run_id, "inputs=photos", "output=photos.csv", cwd=place)
    assert ".txt" in done.out
    found = pandas.read_csv(place / "photos.csv")
    assert found["file"].tolist() == sorted(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(12))
    assert list(found)[1:] == ["predicted", "probability_cat", "probability_dog"]
    pixels = np.stack([np.asarray(Image.open(place / "photos" / name)) for name in found["file"]])
    model = package.load(run_id, f"sqlite:///{place}/mlflow.db")
    wanted = model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).softmax(1).detach()
    np.testing.assert_allclose(found.iloc[:, 2:], wanted, atol=1e-6)
    shutil.copytree(place / "photos" / "dog", place / "dogs" / "dog")
    whole = ("data.path=dogs", "split=train", "data.valid=0", "data.test=0")
    figure = figures(runner("evaluate", run_id, *whole, cwd=place))["train/loss"]
    dogs = found[found["file"].str.startswith("dog")]
    assert figure == pytest.approx(-np.log(dogs["probability_dog"]).mean(), rel=1e-4)
    recorded = json.loads(next(place.glob(f"mlruns/*/{run_id}/artifacts/data.json")).read_text())
    shutil.copytree(place / "photos" / "dog", place / "cows" / "cow")
    with refused("data.path", "cows/cow' is none of the classes to train on"):
        components.data({"name": "images", "path": str(place / "cows")}, noted=recorded)
    with refused("data.channels", "1, and the model was trained with 3"):
        components.data({"name": "images", "path": str(place / "dogs"), "channels": 1}, noted=recorded)
    (place / "flat").mkdir()
    for name in ("b.png", "a.png"):
        shutil.copy(place / "photos" / "dog" / "3.png", place / "flat" / name)
    runner("predict", run_id, "inputs=flat", "output=flat.csv", cwd=place)
    flat = pandas.read_csv(place / "flat.csv")
    assert flat["file"].tolist() == ["a.png", "b.png"]
    dog = found.set_index("file").loc["dog/3.png"]
    assert np.allclose(flat["probability_dog"], dog["probability_dog"])
    with refused("inputs", "'", "is a table, and the run was not trained on one: give", "of (N, 3, 4, 6)"):
        people().to_csv(place / "people.csv", index=False)
        _inputs.read(str(place / "people.csv"), {"notes": {"size": [4, 6]}, "example": {"shape": [3, 4, 6]}})


def test_an_npz_file_is_read_as_a_run_reads_it(tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, 3))
    np.savez(tmp_path / "xy.npz", x=x, y=np.zeros(2000), x_test=x[:2], y_test=np.zeros(2))
    example = {"example": {"shape": [3], "dtype": "float32"}, "notes": {}}
    found = _inputs.read(str(tmp_path / "xy.npz"), example)
    batches = list(found.batches)
    assert torch.equal(torch.cat(batches), torch.from_numpy(x))
    assert len(batches) > 1
    assert found.names[-1] == "1999"
    with refused("inputs", "has the shape (2000, 3); the run was trained on (N, 4)"):
        _inputs.read(str(tmp_path / "xy.npz"), {"example": {"shape": [4], "dtype": "float32"}, "notes": {}})


LOGITS = torch.tensor([[0.3, -1.2], [2.0, 1.0], [-0.5, 0.5]])
ONE = torch.tensor([[0.3], [-1.2], [0.0]])
TWO_WAYS = torch.stack([1 - ONE.sigmoid(), ONE.sigmoid()], 1).squeeze(2)


@pytest.mark.parametrize(
    ("last", "loss", "task", "output", "wanted"),
    [
        (nn.Linear(2, 2), "CrossEntropyLoss", "binary", LOGITS, LOGITS.softmax(1)),
        (nn.Linear(2, 2), "CrossEntropyLoss", "multiclass", LOGITS, LOGITS.softmax(1)),
        (nn.Softmax(1), "Identity", "multiclass", LOGITS.softmax(1), LOGITS.softmax(1)),
        (nn.LogSoftmax(1), "NLLLoss", "multiclass", LOGITS.log_softmax(1), LOGITS.softmax(1)),
        (nn.Linear(2, 1), "BCEWithLogitsLoss", "binary", ONE, TWO_WAYS),
        (nn.Sigmoid(), "BCELoss", "binary", ONE.sigmoid(), TWO_WAYS),
        (nn.Sigmoid(), "Identity", "binary", ONE.sigmoid()[:, 0], TWO_WAYS),
        (nn.LogSigmoid(), "Identity", "binary", nn.functional.logsigmoid(ONE), TWO_WAYS),
        (nn.Linear(2, 1), "BCELoss", "binary", ONE.sigmoid(), TWO_WAYS),
    ],
)
def test_outputs_become_probabilities_whatever_the_model_ends_in(last, loss, task, output, wanted):
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.ReLU(), last))
    found = predicted.columns(model, getattr(nn, loss)(), output, {"task": task, "classes": ["a", "b"], "notes": {}})
    shares = np.stack([found["probability_a"], found["probability_b"]], axis=1)
    np.testing.assert_allclose(shares, wanted, atol=1e-6)
    assert found["predicted"] == ["ab"[i] for i in wanted.argmax(1).tolist()]


def test_every_label_has_a_probability_of_its_own():
    labels = {"task": "multilabel", "classes": ["a", "b"], "notes": {}}
    found = predicted.columns(
        nn.Linear(1, 2), nn.BCEWithLogitsLoss(), torch.tensor([[3.0, 2.0], [-3.0, 1.0], [-1, -1]]), labels
    )
    assert found["predicted"] == ["a; b", "b", ""]
    np.testing.assert_allclose(found["probability_b"], torch.tensor([2.0, 1.0, -1.0]).sigmoid(), rtol=1e-6)
    given = torch.tensor([[0.9, 0.2]])
    assert predicted.columns(nn.Linear(1, 2), nn.BCELoss(), given, labels)["predicted"] == ["a"]


@pytest.mark.parametrize("loss", ["BCEWithLogitsLoss", "MultiLabelSoftMarginLoss", "BCELoss"])
def test_each_label_has_a_probability_of_its_own(loss):
    logits = torch.tensor([[2.0, 1.0, -3.0], [-1.0, -2.0, -3.0]])
    output = logits.sigmoid() if loss.endswith("BCELoss") else logits
    noted = {"task": "multilabel", "classes": ["a", "b", "c"], "notes": {}}
    found = predicted.columns(nn.Linear(3, 3), getattr(nn, loss)(), output, noted)
    shares = np.stack([found[f"probability_{name}"] for name in "abc"], axis=1)
    np.testing.assert_allclose(shares, logits.sigmoid(), atol=1e-6)
    assert found["predicted"] == ["a; b", ""]


def test_small_distances_are_of_the_second_class():
    noted = {"task": "binary", "classes": ["a", "b"], "notes": {}}
    loss = nn.HingeEmbeddingLoss(margin=3.0)
    found = predicted.columns(nn.Linear(3, 1), loss, torch.tensor([[0.1], [1.2], [3.0]]), noted)
    assert found["predicted"] == ["b", "b", "a"]


def test_numbers_without_names_are_called_outputs_and_grids_are_no_rows():
    regression: dict[str, Any] = {"task": "regression", "classes": [], "notes": {}}
    assert predicted.columns(nn.Identity(), nn.MSELoss(), ONE, regression) == {"output": ONE.flatten().tolist()}
    assert list(predicted.columns(nn.Identity(), nn.MSELoss(), LOGITS, regression)) == ["output_0", "output_1"]
    named = {**regression, "notes": {"target": "price"}}
    assert list(predicted.columns(nn.Identity(), nn.MSELoss(), ONE, named)) == ["price"]
    with pytest.raises(ConfigError, match=r"gives \(2, 2\) for an example, which is no row of a table; write an .npy"):
        predicted.columns(nn.Identity(), nn.MSELoss(), torch.zeros(3, 2, 2), regression)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.Embedding(20, 2), nn.Flatten())

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["size"] + self.text(x["text"]).sum(1, keepdim=True)


@pytest.mark.parametrize(("wrong", "place"), [(20, [0, 0]), (99, [3, 2]), (-1, [2, 1])])
def test_an_index_without_a_row_is_named_with_its_input_and_place(wrong: int, place: list[int]) -> None:
    model, x = Named(), {"size": torch.zeros(4, 1), "text": torch.arange(12).reshape(4, 3)}
    predict._outputs_of(model, nests.split(x, 2))
    x["text"][tuple(place)] = wrong
    message = (
        f"'text' holds {wrong} at {place}, and layer 'text.0', Embedding, has 20 rows; expected indices from 0 to 19"
    )
    with refused("inputs", message):
        predict._outputs_of(model, nests.split(x, 2))
    with (
        refused("data", f"the test data holds {wrong} at {place}, and layer '0'"),
        checked(bag := nn.Sequential(nn.EmbeddingBag(20, 2)), "data", "the test data"),
    ):
        bag(x["text"])
    assert not any(part._forward_pre_hooks for part in [*model.modules(), *bag.modules()])


# ---------------------------------------------------------------------------- another file, encoded by the record


def parts(data: Data) -> list[Any]:
    return [part for part in (data.train, data.valid, data.test) if part is not None]


def same(first: nests.Nest, second: nests.Nest) -> None:
    for one, other in zip(nests.leaves(first), nests.leaves(second), strict=True):
        assert torch.equal(one.to(other.dtype), other)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_another_file_encoded_by_the_record_is_the_same_file(name, tmp_path, monkeypatch):
    """For every shipped experiment: its data written to a file, and that file read as its run's record says."""
    with hydra():
        spec = settings(f"experiments={name}").data
    monkeypatch.chdir(tmp_path)
    data = components.data(spec)
    recorded = json.loads(json.dumps(data_facts(data)))
    x, y = (nests.concatenated([getattr(part, n) for part in parts(data)]) for n in "xy")
    several = not isinstance(x, Tensor)
    np.savez("x.npz", **({name: part.numpy() for name, part in nests.named(x)} if several else {"x": x.numpy()}))
    same(nests.concatenated(list(_inputs.read("x.npz", recorded).batches)), x)
    again = components.data(spec, noted=recorded)
    for first, second in zip(parts(again), parts(data), strict=True):
        same(first.x, second.x)
        same(first.y, second.y)
    if several or not isinstance(y, Tensor) or not y.numel():
        return  # no file has examples of several tensors, or inputs alone
    half = np.random.default_rng(0).permutation(len(x))[: len(x) // 2]
    known = data
    if "features" in data.notes and x.ndim == y.ndim == 2:
        raw = x.double().numpy() * data.notes["std"] + data.notes["mean"]
        frame = pandas.DataFrame(raw, columns=data.notes["features"]).assign(**{data.notes["target"]: y[:, 0].numpy()})
        frame.iloc[half][list(frame.columns[::-1])].assign(further="x").to_csv("other.csv")
        other = {"name": "table", "path": "other.csv", "valid": 0, "test": 0}
    else:  # not of a table: a run on the same arrays, whose classes have no names, and another file of some of them
        for file, rows in (("all.npz", slice(None)), ("other.npz", half)):
            np.savez(file, x=x[rows].numpy(), y=y[rows].numpy())
        other = {"name": "arrays", "path": "other.npz", "valid": 0, "test": 0, "indices": not x.is_floating_point()}
        known = components.data({**other, "path": "all.npz"})
        recorded = json.loads(json.dumps(data_facts(known)))
        y = known.train.y  # where the loss leaves out -100, as numbers of classes
    found = components.data(other, noted=recorded)
    assert (found.task, found.classes) == (known.task, known.classes)
    torch.testing.assert_close(found.train.x, x[half], rtol=1e-5, atol=1e-6)
    assert torch.equal(found.train.y, y[half])


@pytest.mark.parametrize(
    "y",
    [
        np.array([7, 3, 5, 3] * 5),
        np.array(["dog", "cat", "ape", "cat"] * 5),
        np.array([True, False, False, True] * 5),
        np.array([[2.0], [9.0], [9.0], [2.0]] * 5),
    ],
    ids=["numbers", "texts", "truth", "column"],
)
def test_arrays_of_some_classes_get_their_indices_of_the_record(tmp_path, monkeypatch, y):
    monkeypatch.chdir(tmp_path)
    x = np.arange(20.0).reshape(20, 1)
    np.savez("all.npz", x=x, y=y)
    spec = {"name": "arrays", "path": "all.npz", "valid": 0, "test": 0, "task": "classification"}
    data = components.data(spec)
    recorded = json.loads(json.dumps(data_facts(data)))
    for rows in (y.reshape(20) == y.reshape(20)[1], slice(3, 9)):
        np.savez("some.npz", x=x[rows], y=y[rows])
        found = components.data({**spec, "path": "some.npz"}, noted=recorded)
        assert found.classes == data.classes
        assert torch.equal(found.train.y, data.train.y[rows])
    np.savez("some.npz", x=x, y=np.full(20, 4))
    with refused("data.classes", "holds '4', which is not among them"):
        components.data({**spec, "path": "some.npz"}, noted=recorded)


def test_other_parts_of_the_same_patients_are_scaled_as_the_model_knows_them():
    data = components.data({"name": "diabetes"})
    recorded = json.loads(json.dumps(data_facts(data)))
    other = components.data({"name": "diabetes", "seed": 5, "valid": 0.3}, noted=recorded)
    first, second = (
        {tuple(row) for part in parts(d) for row in torch.cat([part.x, part.y], 1).tolist()} for d in (data, other)
    )
    assert first == second


# ------------------------------------------------------------------------------------------------- the command line


ODD = ["length (cm)", "2", "it's", 'say "hi"', "a,b", "c: {d}", "true", "größe", "back\\", "$x", "${y}", "[z]", "007"]


def test_names_are_spelled_as_hydra_and_the_shell_take_them():
    with hydra():
        for name in ODD:
            words = [typed_override("data.target", name), typed_override("data.leave_out", [name, "a b"])]
            words.append(typed_override("data.split", {"by": name}))
            found = settings("data=table", *shlex.split(" ".join(words))).data
            assert str(found["target"]) == name
            assert [str(n) for n in found["leave_out"]] == [name, "a b"]
            assert str(found["split"]["by"]) == name


def test_what_is_advised_works_on_the_command_line(place):
    names = ["first", "${it's} (cm)"]
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(12, 2)), columns=names)
    frame.insert(0, 'who, "what"', [f"{i}-x" for i in range(12)])
    frame.to_csv(place / "odd.csv", index=False)
    done = runner("check", "data=table", "data.path=odd.csv", cwd=place, code=2)
    [target] = re.findall(r"e\.g\. (.*?)(?:\n|$)", done.err)
    done = runner("check", "data=table", "data.path=odd.csv", *shlex.split(target), cwd=place, code=2)
    [spared] = re.findall(r"leave it out, (.*), or turn it into numbers", done.err)
    done = runner("check", "data=table", "data.path=odd.csv", *shlex.split(target), *shlex.split(spared), cwd=place)
    assert f"target {names[1]!r}: numbers" in done.out


def test_check_prints_how_everything_was_understood(place):
    frame = people()
    frame.sort_values("grade").to_csv(place / "people2.csv")
    words = ["data=table", "data.path=people2.csv", "data.target=grade", "loss=cross_entropy"]
    done = runner("check", *words, "model.layers=[{Linear: 3}]", "data.split={group: sex}", "data.valid=0", cwd=place)
    data = components.data(
        {"name": "table", "path": str(place / "people2.csv"), "target": "grade", "split": {"group": "sex"}, "valid": 0}
    )
    for line in data.report[1:]:
        assert line in done.out
    assert "60 rows, 7 columns; 2 left out: 'Unnamed: 0' (without a name), 'sex' (data.split.group)" in done.out
    assert "task           multiclass of 3 classes" in done.out
    assert f"examples       {len(data.train)} train, {len(data.test)} test" in done.out
    counts = [part.y.bincount(minlength=3).tolist() for part in (data.train, data.test)]
    assert f"classes        'high': {counts[0][0]} train, {counts[1][0]} test" in done.out
    done = runner(*words, "model.layers=[{Linear: 3}]", "trainer.epochs=1", "plots=[]", cwd=place)
    assert "people2.csv: 60 rows, 7 columns; 1 left out: 'Unnamed: 0' (without a name)" in done.out
    assert "column 'age'" not in done.out


def test_the_preset_and_the_schema_know_the_new_keys(place):
    preset = yaml.safe_load((Path(__file__).parents[2] / "conf" / "data" / "table.yaml").read_text())
    assert {"split", "leave_out"} <= set(preset)
    schema = json.loads(runner("schema", cwd=place).out)
    cases = schema["$defs"]["data"]["allOf"]
    [case] = [case for case in cases if case["if"]["properties"]["name"]["const"] == "table"]
    assert {"split", "leave_out", "target"} <= set(case["then"]["properties"])
