"""`runner reproduce`: identical to the last bit, or the first difference."""

import contextlib
import math
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from runner.tracking import environment
from runner.tracking.read import checkpoints, reproduction
from runner.training.state import checkpoint
from tests.support import clean_clone
from tests.support.command import newest, runner

WORDS = (
    "data=digits loss=cross_entropy optimizer=adamw scheduler=cosine trainer.epochs=3 trainer.batch_size=256"
    " metrics=[Accuracy] plots=[] trainer.threads=1"
    " model.layers=[Flatten,{Linear:16},{BatchNorm1d:{}},ReLU,{Dropout:0.2},{Linear:10}]"
)


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    workplace = tmp_path_factory.mktemp("trained")
    shutil.copy(empty_store, workplace / "mlflow.db")
    return workplace, runner(*WORDS.split(), cwd=workplace).run_id


@pytest.fixture
def own(trained: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """The same for a test that changes it: a store whose artifacts are where the first one's were, moved here."""
    workplace, run_id = trained
    with contextlib.closing(sqlite3.connect(workplace / "mlflow.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    change(
        tmp_path,
        "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
        f"file://{workplace}",
        f"file://{tmp_path}",
    )
    return tmp_path, run_id


def change(workplace: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(workplace / "mlflow.db")) as store:
        changed = store.execute(statement, values).rowcount
        store.commit()
    assert changed > 0


def artifact(workplace: Path, name: str) -> Path:
    [found] = workplace.glob(f"mlruns/runner/*/artifacts/{name}")
    return found


def test_a_run_that_was_made_longer_is_repeated_part_by_part(own: tuple[Path, str]) -> None:
    workplace, run_id = own
    runner("resume", run_id, "trainer.epochs=4", cwd=workplace)
    runner("resume", run_id, "trainer.epochs=6", cwd=workplace)
    assert f"reproduce {run_id} identical" in runner("reproduce", run_id, cwd=workplace).last


def test_a_fresh_run_is_reproduced_to_the_last_bit_and_nothing_is_written(trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    before = client.get_run(run_id).to_dictionary()
    done = runner("reproduce", "last", cwd=workplace)
    weights = checkpoint.digest(checkpoints.weights(f"sqlite:///{workplace}/mlflow.db", run_id))
    points = sum(len(client.get_metric_history(run_id, name)) for name in before["data"]["metrics"])
    assert done.last == f"reproduce {run_id} identical values={points} weights={weights}"
    assert "train/loss: 15 values, identical" in done.out
    assert "versions, device and git commit are as recorded" in done.out
    assert client.get_run(run_id).to_dictionary() == before
    assert len(client.search_runs(["0", "1"])) == 1


def test_one_other_bit_in_one_recorded_loss_is_found(own: tuple[Path, str]) -> None:
    workplace, run_id = own
    [recorded] = [
        p.value
        for p in MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_metric_history(run_id, "train/loss")
        if p.step == 7
    ]
    other = math.nextafter(recorded, 10)
    change(workplace, "UPDATE metrics SET value = ? WHERE key = 'train/loss' AND step = 7", other)
    done = runner("reproduce", "last", cwd=workplace, code=1)
    assert "train/loss: 15 values, 1 differ" in done.out
    assert done.last.startswith(f"reproduce {run_id} different values=1/")
    assert done.last.endswith(f" weights=none first=train/loss step=7 recorded={other!r} found={recorded!r}")


def test_other_weights_are_found_even_where_every_loss_is_the_same(own: tuple[Path, str]) -> None:
    workplace, run_id = own
    state = checkpoints.weights(f"sqlite:///{workplace}/mlflow.db", run_id)
    place = newest(artifact(workplace, ""))

    class Other:
        def state_dict(self) -> dict[str, object]:
            return {**state, "1.bias": state["1.bias"] + 1e-6}

    digests = checkpoint.save(place, Other(), "state_dict")  # type: ignore[arg-type]
    told = '{"state_dict.pt": "' + digests["state_dict.pt"] + '"}'
    change(workplace, "UPDATE tags SET value = ? WHERE key = 'checkpoint.last.sha256'", told)
    done = runner("reproduce", "last", cwd=workplace, code=1)
    assert f"reproduce {run_id} different values=0/" in done.last
    assert "weights=last" in done.last


def test_what_is_otherwise_here_is_said_first(own: tuple[Path, str]) -> None:
    workplace, _ = own
    threads = (os.cpu_count() or 1) + 1
    place = artifact(workplace, "environment.txt")
    text = place.read_text()
    lines = [
        "torch: 2.0.1" if line.startswith("torch: ") else "threads: 99" if line.startswith("threads: ") else line
        for line in text.splitlines()
    ]
    place.write_text("\n".join(lines))
    change(workplace, "UPDATE tags SET value = ? WHERE key = 'threads'", str(threads))
    done = runner("reproduce", "last", cwd=workplace, code=None)
    first = done.out.splitlines()[:4]
    assert any(line.startswith("torch: recorded 2.0.1, here ") for line in first)
    assert f"threads: recorded 99, here {threads}" in first
    assert any(line.startswith(f"threads: set to {threads} as recorded; here it would be ") for line in first)


def test_versions_and_the_state_of_the_code_are_compared() -> None:
    import torch

    cpu = torch.device("cpu")
    now = environment.text([], cpu)
    assert not [line for line in environment.differences(now, cpu) if not line.startswith("git state")]
    past = now.replace("\nnumpy==", "\nnumpy==0.").replace("device: cpu", "device: cuda:0 NVIDIA H100")
    past = past.replace("packages:", "git.state: changed\npackages:")
    told = "\n".join(environment.differences(past, cpu))
    assert "numpy: recorded 0." in told
    assert "device: recorded cuda:0 NVIDIA H100, here cpu" in told
    assert "git state: recorded with uncommitted changes" in told


MINE = """
from torch import nn

class Fails(nn.Module):
    calls = 0

    def forward(self, x):
        Fails.calls += not x.is_meta
        if Fails.calls > 23:
            raise RuntimeError("out of patience")
        return x
"""


def test_an_interrupted_run_is_reproduced_as_far_as_it_came(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/bad.py").write_text(MINE)
    words = ("model.layers=[{Linear:1},experiments.bad.Fails]", "checkpoint.every=2 steps", "trainer.batch_size=32")
    run_id = runner(*words, "plots=[]", "trainer.threads=1", cwd=workplace, code=1).run_id
    done = runner("reproduce", run_id, cwd=workplace)
    assert f"run {run_id}, FAILED, " in done.out
    assert f"reproduce {run_id} identical values=" in done.last
    (workplace / "experiments/bad.py").unlink()
    missing = runner("reproduce", run_id, cwd=workplace, code=2)
    assert "there is no module 'experiments.bad'; expected experiments/bad.py" in missing.err
    assert "Traceback" not in missing.err


def test_a_run_that_goes_on_or_left_nothing_is_refused(own: tuple[Path, str]) -> None:
    workplace, run_id = own
    change(workplace, "DELETE FROM tags WHERE key = 'runner.process'")  # or it would be found to be dead
    change(workplace, "UPDATE runs SET status = 'RUNNING'")
    assert f"run {run_id} is RUNNING" in runner("reproduce", "last", cwd=workplace, code=2).err
    change(workplace, "UPDATE runs SET status = 'FAILED'")
    change(workplace, "DELETE FROM tags WHERE key = 'checkpoint.last.step'")
    assert "there is nothing to compare" in runner("reproduce", "last", cwd=workplace, code=2).err


def test_values_are_compared_by_their_bits_and_in_the_order_of_training() -> None:
    recorded = {"train/loss": {1: 1.0, 2: math.nan, 3: 1.7976931348623157e308}, "valid/loss": {2: 1.0}}
    found = {"train/loss": {1: 1.0, 2: math.nan, 3: math.inf}, "valid/loss": {2: 1.0}}
    assert reproduction.compare(recorded, found, whole=True) == []
    found["train/loss"][2], found["valid/loss"][2] = 3.0, 2.0
    assert [(d.name, d.step) for d in reproduction.compare(recorded, found, True)] == [
        ("train/loss", 2),
        ("valid/loss", 2),
    ]
    longer = {"train/loss": {**recorded["train/loss"], 4: 1.0}, "valid/loss": {2: 1.0}}
    assert [d.recorded for d in reproduction.compare(recorded, longer, whole=True)] == [None]
    assert reproduction.compare(recorded, longer, whole=False) == []
    assert [d.repeated for d in reproduction.compare(longer, recorded, whole=False)] == [None]


def test_the_former_end_of_a_longer_run_may_have_been_validated_out_of_turn() -> None:
    loss = {step: 1.0 / step for step in range(1, 9)}
    epochs = {"epoch": {4: 2.0, 8: 4.0}, "valid/loss": {4: 0.4, 8: 0.2}}
    repeated = {"train/loss": loss, **epochs}
    extra = {"epoch": {2: 1.0}, "valid/loss": {2: 0.5}}
    recorded = {"train/loss": loss, **{name: {**values, **extra[name]} for name, values in epochs.items()}}
    assert reproduction.compare(recorded, repeated, whole=True, epoch=2) == []
    assert len(reproduction.compare(recorded, repeated, whole=True)) == 2
    other = {**recorded, "valid/loss": {2: 0.5, 4: 0.4, 8: 0.3}}
    assert [d.step for d in reproduction.compare(other, repeated, whole=True, epoch=2)] == [8]


def test_a_value_that_is_not_recorded_since_it_is_not_finite_is_repeated() -> None:
    recorded = {"train/loss": {1: 1.0, 2: 1.0}, "train/ratio": {1: 0.5}}
    assert reproduction.compare(recorded, {**recorded, "train/ratio": {1: 0.5, 2: math.nan}}, whole=True) == []
    assert len(reproduction.compare(recorded, {**recorded, "train/ratio": {1: 0.5, 2: 1.0}}, whole=True)) == 1


@pytest.mark.parametrize("validated", [False, True])
def test_a_record_ends_with_a_step_or_with_its_validation(validated: bool) -> None:
    recorded = {"train/loss": {1: 1.0, 2: 1.0}, "train/penalty": {1: 0.5, 2: 0.5}}
    end = reproduction.end({**recorded, "epoch": {2: 1.0}} if validated else recorded, {1})
    assert (end.step, end.validated) == (2, validated)


def test_a_run_of_a_clean_clone_gives_the_same_weights_here() -> None:
    assert clean_clone.figure().endswith("identical")
