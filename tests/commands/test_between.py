"""Between two runs: found, shown and trained anew."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from runner import commands
from runner.cli.answers import help
from runner.commands import runs, show
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.tracking.read import plain, query
from runner.tracking.store import stores
from tests.support.command import HANGS, Done, newest, runner

#: Commands that answer without composing anything, and without what only training needs.
LIGHT = """
import sys
from runner.cli.command import main
for words in (["runs"], ["show", "last"], ["--help"]):
    sys.argv = ["runner", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, words
    loaded = {"torch", "hydra", "matplotlib", "torchmetrics"} & set(sys.modules)
    assert not loaded, (words, loaded)
"""


def test_lists_and_facts_load_neither_torch_nor_hydra(store: str, tmp_path: Path) -> None:
    client = stores.open_store(store)
    client.create_run(stores.experiment(client, store, "tests").experiment_id, run_name="the only one")
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the only one") == 2


def test_help_names_every_command_preset_study_and_key() -> None:
    text = help.overview()
    for name in commands.names():
        assert f"runner {name}" in text or name == "train", name
    for group in places.groups():
        assert f"\n{group}: {', '.join(places.presets(group))}\n" in text
    assert f"experiments: {', '.join(places.studies())}" in text
    assert "checkpoint.{every, format, keep}" in text


# Filters, orders, columns

CONDITIONS = {
    "valid/loss < 0.1": "metrics.`valid/loss` < 0.1",
    "metrics.valid/loss<0.1 and status = 'FAILED'": "metrics.`valid/loss`<0.1 and status = 'FAILED'",
    "metrics.`valid/loss` < 0.1": "metrics.`valid/loss` < 0.1",
    'metrics."valid/loss" < 0.1': 'metrics."valid/loss" < 0.1',
    "params.data.path = 'a/b'": "params.data.path = 'a/b'",
    "params.a-b = 'x'": "params.`a-b` = 'x'",
    "tags.note LIKE '%x/y%' and valid/box/IoU > 1e-3": "tags.note LIKE '%x/y%' and metrics.`valid/box/IoU` > 1e-3",
    "": "",
}


@pytest.mark.parametrize("words", CONDITIONS)
def test_a_filter_may_leave_out_what_mlflow_asks_for(words: str) -> None:
    assert query.condition(words) == CONDITIONS[words]
    assert query.condition(CONDITIONS[words]) == CONDITIONS[words]


def made(store: str, count: int = 12) -> dict[str, dict[str, Any]]:
    """Runs with random values in a store: id -> its metric and param, which some lack."""
    client, draw = stores.open_store(store), random.Random(0)
    group = stores.experiment(client, store, "tests").experiment_id
    values: dict[str, dict[str, Any]] = {}
    for number in range(count):
        run_id = client.create_run(group, run_name=f"run {number}").info.run_id
        values[run_id] = {}
        if number % 4:
            values[run_id]["valid/loss"] = draw.choice([0.5, 0.05, draw.random()])
            client.log_metric(run_id, "valid/loss", values[run_id]["valid/loss"])
        if number % 3:
            values[run_id]["optimizer.lr"] = draw.choice(["1e-05", "0.1", "0.02", "auto"])
            client.log_param(run_id, "optimizer.lr", values[run_id]["optimizer.lr"])
        client.set_terminated(run_id, draw.choice(["FINISHED", "FAILED"]))
    return values


def ids(result: Any) -> list[str]:
    json.dumps(result.plain)
    return [run["id"] for run in result.plain["runs"]]


def in_order(rate: str | None) -> tuple[bool, bool, float]:
    """Numbers by their size, then texts, then what is missing."""
    return rate is None, rate == "auto", 0.0 if rate in (None, "auto") else float(str(rate))


def test_runs_are_filtered_and_sorted_as_python_would(store: str) -> None:
    values = made(store)
    low = {run_id for run_id, of in values.items() if of.get("valid/loss", 9) <= 0.5}
    assert set(ids(runs.with_words(store, "valid/loss <= 0.5"))) == low
    losses = [values[run_id].get("valid/loss") for run_id in ids(runs.with_words(store, sort="valid/loss desc"))]
    having = [loss for loss in losses if loss is not None]
    assert losses == sorted(having, reverse=True) + [None] * (len(losses) - len(having))
    rates = [values[run_id].get("optimizer.lr") for run_id in ids(runs.with_words(store, sort="optimizer.lr"))]
    assert rates == sorted(rates, key=in_order)
    [best] = ids(runs.with_words(store, sort="valid/loss", most="1"))
    assert values[best]["valid/loss"] == min(having)
    found = ids(runs.with_words(store, "params.optimizer.lr = '0.1'", experiment="tests"))
    assert len(found) == sum(of.get("optimizer.lr") == "0.1" for of in values.values())
    assert ids(runs.with_words(store, experiment="other")) == []


WRONG = {
    ("filter", "valid/loss <"): "filter: 'metrics.`valid/loss` <' is refused by MLflow",
    ("filter", "nonsense = 3"): "filter: 'nonsense = 3' is refused by MLflow",
    ("columns", "[name,valid/lss]"): "columns: no run that is listed has 'valid/lss'; did you mean 'valid/loss'",
    ("columns", "[]"): "columns: '[]' names no column",
    ("sort", "results"): "sort: results are several values",
    ("sort", "attributes.nonsense"): "sort: 'attributes.nonsense' is no attribute",
    ("sort", "nothing"): "sort: no run that is listed has 'nothing'",
    ("most", "0"): "most: '0' is not a whole number of at least 1",
}


def test_what_is_wrong_in_a_list_is_said(store: str) -> None:
    made(store, 2)
    for (key, word), message in WRONG.items():
        with pytest.raises(ConfigError) as error:
            runs.with_words(store, **{key: word})
        assert str(error.value).startswith(message)


def test_columns_name_metrics_params_and_tags(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = made(store, 2)
    [run_id] = [run_id for run_id, of in values.items() if of]
    stores.open_store(store).set_tag(run_id, "owner", "ada")
    runs.with_words(store, columns="[name,valid/loss,optimizer.lr,tags.owner]").text()
    heading, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["run", "name", "valid/loss", "optimizer.lr", "owner"]
    of = values[run_id]
    assert [run_id[:8], "run", "1", f"{of['valid/loss']:.6g}", of["optimizer.lr"], "ada"] in lines


# One run, and a sweep

OWN = "from torch import nn\n\nclass Twice(nn.Module):\n    def forward(self, x):\n        return x * {}\n"
STUDY = {
    "data": {"name": "line", "points": 64, "valid": 20, "test": 10},
    "model": {"layers": [{"Linear": 4}, {"Dropout": 0.2}, "experiments.own.Twice", {"Linear": 1}]},
    "optimizer": {"lr": 0.01},
    "trainer": {"epochs": 3, "batch_size": 16},
    "plots": [],
}


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a study with code of its own."""
    folder = tmp_path_factory.mktemp("between")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    (folder / "experiments").mkdir()
    (folder / "experiments/own.py").write_text(OWN.format(2))
    (folder / "experiments/mine.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Done:
    return runner("experiments=mine", "seed=3", cwd=place)


def uri(place: Path) -> str:
    return f"sqlite:///{place}/mlflow.db"


def weights(place: Path, run_id: str) -> str:
    tags = MlflowClient(uri(place)).get_run(run_id).data.tags
    return str(json.loads(tags["checkpoint.last.sha256"])["state_dict.pt"])


def test_the_facts_of_a_run_are_those_of_its_record(
    place: Path, trained: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    result = show.with_run(uri(place), trained.run_id[:10])
    facts, client = result.plain, MlflowClient(uri(place))
    assert json.loads(json.dumps(facts)) == facts
    run = client.get_run(trained.run_id)
    assert facts["metrics"] == run.data.metrics
    assert facts["params"] == run.data.params
    assert (facts["study"], facts["overrides"], facts["status"]) == ("mine", ["experiments=mine", "seed=3"], "FINISHED")
    assert facts["config"]["trainer"]["epochs"] == facts["epochs"] == 3
    assert facts["steps"] == 12
    assert facts["parameters"] == 13
    assert facts["data"]["examples"] == {"train": 64, "valid": 20, "test": 10}
    for name, of in facts["history"].items():
        points = sorted(client.get_metric_history(trained.run_id, name), key=lambda p: p.step)
        pairs = [{"step": p.step, "value": p.value} for p in points]
        assert (of["values"], of["first"], of["last"]) == (len(pairs), pairs[0], pairs[-1])
        assert of["lowest"] == min(pairs, key=lambda p: p["value"])
        assert of["highest"] == max(pairs, key=lambda p: p["value"])
    folder = Path(facts["folder"])
    assert {file["path"]: file["bytes"] for file in facts["files"]} == {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }
    assert facts["commands"]["again"] == f"runner again {trained.run_id[:8]} tracking.uri={uri(place)}"
    result.text()
    out = capsys.readouterr().out
    assert all(part in out for part in ("what it was", "how it went", "13 parameters", "runner reproduce"))


def test_a_run_trained_anew_ends_with_the_same_weights(place: Path, trained: Done) -> None:
    first = trained.run_id
    again = runner("again", first, cwd=place)
    assert again.run_id != first
    assert weights(place, again.run_id) == weights(place, first)
    tags = MlflowClient(uri(place)).get_run(again.run_id).data.tags
    assert tags["runner.again"] == first
    other = runner("again", first[:8], "seed=4", "trainer.epochs=2", cwd=place)
    plainly = runner("experiments=mine", "seed=4", "trainer.epochs=2", cwd=place)
    assert weights(place, other.run_id) == weights(place, plainly.run_id) != weights(place, first)
    tags = MlflowClient(uri(place)).get_run(other.run_id).data.tags
    assert tags["runner.overrides"] == "experiments=mine seed=4 trainer.epochs=2"
    wrong = runner("again", first, "optimizer.lr=abc", "nonsense=3", cwd=place, code=2)
    assert wrong.err.startswith("nonsense: again of a recorded run takes no such key")


def test_changed_code_is_refused_or_chosen(place: Path, trained: Done) -> None:
    own = place / "experiments/own.py"
    own.write_text(OWN.format(3))
    try:
        refused = runner("again", trained.run_id, cwd=place, code=2).err
        assert refused.startswith("code: experiments/own.py is changed since run")
        recorded = runner("again", trained.run_id, "code=recorded", cwd=place)
        current = runner("again", trained.run_id, "code=current", cwd=place)
    finally:
        own.write_text(OWN.format(2))
    assert weights(place, recorded.run_id) == weights(place, trained.run_id) != weights(place, current.run_id)


def test_a_sweep_is_run_anew_as_another_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runner("-m", "experiments=mine", "seed=1,2", "sweep.plots=false", cwd=place).run_id
    done = runner("again", first, cwd=place)
    assert done.last.startswith("sweep ")
    longer = runner("again", first, "trainer.epochs=4", cwd=place)
    assert "seed: sweep" in runner("again", first, "seed=5", cwd=place, code=2).err
    monkeypatch.chdir(place)
    facts, repeated, other = (show.with_run(uri(place), one).plain for one in (first, done.run_id, longer.run_id))
    assert repeated["again"] == other["again"] == first
    assert facts["statuses"] == repeated["statuses"] == {"FINISHED": 2}
    assert other["overrides"] == ["experiments=mine", "seed=1,2", "sweep.plots=false", "trainer.epochs=4"]
    jobs = [[weights(place, job["run"]) for job in of["jobs"]] for of in (facts, repeated, other)]
    assert jobs[0] == jobs[1] != jobs[2]
    assert {job["epochs"] for job in other["jobs"]} == {4}
    best = min(facts["jobs"], key=lambda job: job["value"])
    assert facts["best"]["run"] == best["run"]
    assert best["rank"] == 1
    kinds = {run["id"]: (run["kind"], run["parent"]) for run in runs.with_words(uri(place)).plain["runs"]}
    assert kinds[first] == ("sweep", None)
    assert kinds[best["run"]] == ("job", first)


def test_a_damaged_record_is_shown_as_far_as_it_can_be_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = runner("experiments=mine", "trainer.epochs=1", cwd=place).run_id
    [artifacts] = place.glob(f"mlruns/*/{run_id}/artifacts")
    (artifacts / "config.yaml").write_text("nonsense: [")
    (artifacts / "data.json").unlink()
    client = MlflowClient(uri(place))
    client.set_tag(run_id, "checkpoint.last.kept", "nonsense")
    client.set_tag(run_id, "runner.overrides", "'")
    client.set_tag(run_id, "best.value", "nan")
    monkeypatch.chdir(place)
    result = show.with_run(uri(place), run_id)
    assert result.plain["config"] is result.plain["data"] is None
    assert result.plain["overrides"] == []
    assert len(result.plain["warnings"]) >= 3
    result.text()
    assert newest(artifacts).name == "last-4"


def test_times_are_in_iso_8601() -> None:
    assert plain.time(0.25) == "1970-01-01T00:00:00.250+00:00"
    assert plain.time(None) is plain.time(1e30) is None
