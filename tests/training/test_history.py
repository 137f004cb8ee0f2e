"""The losses of a long run: arrays in memory, and in checkpoints only what no earlier file holds."""

import dataclasses
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient

from runner.commands import resume, train
from runner.settings.context import Context
from runner.tracking.read import checkpoints, recall
from runner.training.drive import advance, drive
from runner.training.events import Snapshot, Step
from runner.training.state import checkpoint, pieces
from runner.training.state.history import History, Points
from tests.conftest import Start, settings

MOST = 40  # points of a checkpoint here


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST", MOST)


def shape(epochs: int, **changes: Any) -> dict[str, Any]:
    """Twelve steps and a look at the validation data an epoch, and a checkpoint after each."""
    return {"epochs": epochs, "batch_size": 2, "data": {"name": "line", "points": 24, "valid": 10}, **changes}


class Snapshots:
    """Keeps what the checkpoints of a run were: the sizes of their training.pt, and the pieces that came with them."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.pieces: list[Path] = []

    def record(self, event: Any) -> None:
        if isinstance(event, Snapshot) and event.name == "last":
            self.sizes.append((event.folder / "training.pt").stat().st_size)
            self.pieces += [path for folder in event.pieces for path in folder.rglob("*.pt")]


def plain(history: dict[str, Points]) -> dict[str, list[tuple[int, float]]]:
    return {name: list(found) for name, found in history.items()}


# ------------------------------------------------------------------------------------------------------------ in memory


def test_points_are_a_list_of_pairs_in_a_few_bytes_each() -> None:
    pairs = [(step, step / 3) for step in range(1, 100_001)]
    found = Points(pairs)
    assert found == pairs
    assert (len(found), found[0], found[-1], found[10:12]) == (100_000, pairs[0], pairs[-1], pairs[10:12])
    assert found[::1000] == pairs[::1000]
    assert dict(found) == dict(pairs)
    assert len(pickle.dumps(found)) < 17 * len(pairs)
    steps, values = found.columns(99_990)
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)
    found.append(100_001, 0.5)  # which an array that is looked at could not take
    assert list(zip(steps, values, strict=True)) == pairs[99_990:]


def test_what_is_no_number_is_kept_as_it_is() -> None:
    history = History()
    for step, value in enumerate([float("nan"), float("inf"), -float("inf"), -0.0, 1e-320], 1):
        history.record(Step(step, torch.tensor(value, dtype=torch.float64)))
    again = History()
    again.load_state_dict(pickle.loads(pickle.dumps(history.state_dict())))
    assert again.points["train/loss"].columns()[1].tobytes() == history.points["train/loss"].columns()[1].tobytes()


# ---------------------------------------------------------------------------------------------------- in checkpoints


def sizes(start: Start, epochs: int) -> Snapshots:
    run, found = start(**shape(epochs, every=1)), Snapshots()
    drive(run, found)
    assert run.state.step == 12 * epochs
    return found


def test_a_checkpoint_does_not_grow_with_the_steps_before_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sizes(start, 60)
    most = 16 * (MOST + 12 + 5) + 2000  # one more epoch than fits, and what torch writes around it
    assert max(found.sizes) - min(found.sizes) < most
    assert max(found.sizes[-10:]) <= max(found.sizes[:10]) + 200  # which numbers of more digits take
    total = sum(path.stat().st_size for path in found.pieces)
    assert len(found.pieces) > 10
    assert total < 60 * (12 + 4) * 16 + len(found.pieces) * 4000
    monkeypatch.setattr(pieces, "MOST", 10**9)  # without pieces it does
    grown = sizes(start, 60)
    assert not grown.pieces
    assert grown.sizes[-1] - grown.sizes[0] > 55 * 12 * 16


def test_a_piece_that_cannot_be_written_is_in_no_checkpoint(tmp_path: Path) -> None:
    history = History()
    for step in range(1, 100):
        history.record(Step(step, torch.tensor(float(step))))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(checkpoint.CheckpointError, match="cannot be written"):
        pieces.write(history, tmp_path / "file")
    assert history.state_dict()["piece"] is None
    assert len(history.state_dict()["points"]["train/loss"][0]) == 99
    assert pieces.write(history, tmp_path)
    assert not pieces.write(history, tmp_path)
    assert len(history.state_dict()["points"]["train/loss"][0]) == 0


def test_a_checkpoint_that_cannot_be_written_leaves_its_piece_to_the_next(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = start(**shape(4)), Snapshots()
    save = checkpoint.save
    advance(run, [run.recorder])

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise checkpoint.CheckpointError("no space left")

    monkeypatch.setattr(checkpoint, "save", fails)
    with pytest.raises(checkpoint.CheckpointError):
        list(run.snapshots())
    monkeypatch.setattr(checkpoint, "save", save)
    for event in run.snapshots():
        found.record(event)
    assert [path.name for path in found.pieces] == [run.recorder.piece["file"]]  # type: ignore[index]


def test_a_piece_names_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="is not the name of a file"):
        pieces.read(tmp_path, {"file": "../secret.pt", "sha256": ""})


# ---------------------------------------------------------------------------------------------------------- resumed


def trained(store: str, epochs: int, name: str = "long") -> str:
    """Train into the store, as the command does. Returns the run's id."""
    made = settings(**shape(epochs, every=1, plots=["loss_curve"]))
    made.tracking.uri, made.tracking.experiment = store, name
    assert train.with_settings(made, Context(name, yaml.safe_dump(dataclasses.asdict(made)), [])).code == 0
    return newest(store, name)


def newest(store: str, name: str) -> str:
    client = MlflowClient(store)
    [run] = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return str(run.info.run_id)


def resumed(store: str, run_id: str, epochs: int) -> None:
    def longer(old: Any) -> Any:
        return dataclasses.replace(old, trainer=dataclasses.replace(old.trainer, epochs=epochs))

    assert resume.with_run(store, run_id, longer).code == 0


def files(store: str, run_id: str) -> Path:
    return Path(MlflowClient(store).get_run(run_id).info.artifact_uri.removeprefix("file://"))


def restored(store: str, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """The history that a run which goes on begins with."""
    history = History()
    history.load_state_dict(checkpoints.state(store, run_id, [])[2]["history"])
    return plain(history.points)


@dataclasses.dataclass
class Whole:
    """A run that never stopped."""

    store: str
    run_id: str
    history: dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def whole(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('whole') / 'mlflow.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "MOST", MOST)
        run_id = trained(store, 24)
    return Whole(store, run_id, restored(store, run_id))


def test_a_run_that_goes_on_again_and_again_is_one_that_never_stopped(store: str, whole: Whole) -> None:
    run_id = trained(store, 5)
    for epochs in (6, 15, 24):
        resumed(store, run_id, epochs)
    assert restored(store, run_id) == whole.history
    assert len(whole.history["train/loss"]) == 24 * 12
    one, other = files(whole.store, whole.run_id), files(store, run_id)
    assert len(list((other / "history").iterdir())) > 4
    pictures = [(folder / "plots" / "loss_curve.png").read_bytes() for folder in (one, other)]
    assert pictures[0] == pictures[1]


def test_pieces_outlive_the_checkpoints_that_they_came_with(store: str, whole: Whole) -> None:
    assert len(list((files(whole.store, whole.run_id) / "checkpoints").glob("last-*"))) == 2
    assert checkpoints.state(whole.store, whole.run_id, [])[2]["history"]["earlier"]
    run_id = trained(store, 20)
    newest_one = checkpoints.recorded(store, run_id, "last")[0]
    (files(store, run_id) / newest_one.place / "training.pt").write_bytes(b"damaged")
    resumed(store, run_id, 24)  # from the checkpoint before
    assert restored(store, run_id) == whole.history


def test_where_pieces_are_gone_the_recorded_metrics_take_their_place(
    store: str, whole: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = trained(store, 16)
    first = min((files(store, run_id) / "history").iterdir(), key=lambda path: int(path.name.partition("-")[0]))
    first.write_bytes(first.read_bytes()[:-1])
    resumed(store, run_id, 20)
    assert f"history of run {run_id}: " in (err := capsys.readouterr().err)
    assert "is damaged: its SHA-256 is" in err
    assert "the recorded metrics take its place" in err
    assert restored(store, run_id) == {name: [p for p in of if p[0] <= 240] for name, of in whole.history.items()}
    assert "history" not in capsys.readouterr().err, "what is written since then is whole again"
    shutil.rmtree(first.parent)
    resumed(store, run_id, 24)
    assert "the recorded metrics take its place" in capsys.readouterr().err
    assert restored(store, run_id) == whole.history


def test_a_checkpoint_that_holds_all_of_its_history_is_still_read(start: Start) -> None:
    """As the version before wrote it."""
    run, second = (start(**shape(4)) for _ in range(2))
    advance(run, [run.recorder])
    training = run.state_dict()
    training["history"] = {
        "points": {
            name: (torch.tensor([s for s, _ in found]), torch.tensor([v for _, v in found], dtype=torch.float64))
            for name, found in run.history.items()
        }
    }
    second.load_state_dict(checkpoint.copy(run.model), training)
    assert plain(second.history) == plain(run.history)
    found = Snapshots()
    for event in second.snapshots():
        found.record(event)
    assert len(found.pieces) == 1, "all of it is a piece from now on"


def test_the_last_recorded_step_is_asked_for_without_all_others(whole: Whole, monkeypatch: Any) -> None:
    def refused(*args: Any) -> Any:
        raise AssertionError("every point was read")

    monkeypatch.setattr(MlflowClient, "get_metric_history", refused)
    assert recall.last_step(whole.store, whole.run_id) == 24 * 12
