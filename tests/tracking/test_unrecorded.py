"""Whatever keeps a record from being whole is an exit code and a status; what was refused stays until it is let go."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from runner.commands import sync
from runner.settings import Settings, Tracking
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.files import durable
from runner.settings.trust import record_reading
from runner.tracking import recording
from runner.tracking.store import artifacts, stores
from runner.tracking.write import background, checkpoints, delivery, entries, journal, leftover, spool, tracker
from runner.tracking.write import sync as settling
from runner.tracking.write.spool import Undelivered
from runner.training import finish
from runner.training.events import Epoch, Event, Snapshot, Step
from runner.training.loop import train
from runner.training.run import Run
from runner.training.state.checkpoint import CheckpointError
from tests.conftest import Start
from tests.support import disk
from tests.tracking.test_disk import records


def checkpoint(folder: Path, step: int, text: str = "") -> Snapshot:
    place = folder / f"last-{step}"
    place.mkdir()
    (place / "weights").write_text(text or f"of step {step}")
    (place / "sha256.json").write_text('{"weights": "0"}')
    return Snapshot("last", step, place)


def told(one: tracker.Tracker, *events: Event) -> None:
    """Record events, and wait until the background has dealt with them."""
    for event in events:
        one.record(event)
    one.drain()


def steps(first: int, last: int) -> list[Event]:
    return [Step(step, torch.tensor(float(step))) for step in range(first, last + 1)]


def recorded(store: str, act: Callable[[tracker.Tracker], None], run_id: str | None = None) -> BaseException | None:
    """What a run ends with that does `act`; None if its record is whole."""
    try:
        with recording.recording(store, "tests", None, {}, {}, {"a.txt": "a"}, run_id) as one:
            act(one)
    except Exception as error:
        return error
    return None


def places(run: Any) -> list[str]:
    return sorted(path.name for path in (run.artifacts / "checkpoints").glob("*"))


# A part of the tracker that fails


def fails(*_: Any, **__: Any) -> Any:
    raise ValueError("injected")


BROKEN = {
    "the spool": (spool.Spool, "append"),
    "the journal": (journal.Journal, "append"),
    "what is next": (background.Background, "_next"),
    "the entries": (background.Background, "_entries"),
    "the points": (entries, "points"),
    "the delivery": (delivery.Delivery, "_flush"),
    "the end": (delivery.Delivery, "_end"),
    "the mark": (spool.Spool, "mark"),
    "what is taken in": (background.Background, "_deliver"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_no_part_of_the_tracker_dies_in_silence(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(tracker, "CLOSING", 0.1)
    threads = threading.active_count()

    def act(one: tracker.Tracker) -> None:
        told(one, *steps(1, 5))
        monkeypatch.setattr(*BROKEN[part], fails)
        told(one, *steps(6, 10))

    error = recorded(store, act)
    monkeypatch.undo()
    assert error is not None, "exit code 0"
    assert "injected" in f"{error} {error.__cause__}"
    assert threading.active_count() <= threads  # others may have ended meanwhile
    [run] = records(tmp_path)
    kept = isinstance(error, Undelivered) and "the rest is kept" in str(error)
    if not kept:
        assert run.status == "FAILED"
    else:  # then it is true
        [folder] = spool.folders(store)
        assert not settling.settle(folder).undelivered
        [run] = records(tmp_path)
        assert (run.status, sorted(run.points)) == (error.status, [("train/loss", step) for step in range(1, 11)])
    assert run.status != "FINISHED" or kept


def test_a_thread_that_ends_by_exit_is_a_failure_too(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def act(one: tracker.Tracker) -> None:
        def leaves(*_: Any) -> Any:
            raise SystemExit

        monkeypatch.setattr(background.Background, "_next", leaves)
        told(one, *steps(1, 2))

    assert "SystemExit" in str(recorded(store, act))
    assert [run.status for run in records(tmp_path)] == ["FAILED"]


def test_files_that_vanish_before_they_are_delivered_fail_the_run(store: str, tmp_path: Path):
    def act(one: tracker.Tracker) -> None:
        event = checkpoint(tmp_path, 5)
        one._spool.files.move_in = lambda entry: shutil.rmtree(event.folder) and False  # type: ignore[method-assign]
        told(one, *steps(1, 5), event)

    error = recorded(store, act)
    assert isinstance(error, Undelivered)
    assert error.status == "FAILED"
    assert "the files for checkpoints/last-5 are gone" in str(error)
    [run] = records(tmp_path)
    assert (run.status, len(run.points)) == ("FAILED", 5)
    assert "checkpoint.last" not in run.tags
    assert spool.folders(store) == [], "there is nothing to try again"


def test_a_run_with_an_error_of_its_own_is_not_called_finished_where_the_store_is_away(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracker, "CLOSING", 0.1)
    (tmp_path / "last-5").mkdir()

    def act(one: tracker.Tracker) -> None:
        one._background.delivery.use(MlflowClient("http://127.0.0.1:1", "http://127.0.0.1:1"))
        told(one, *steps(1, 5), Snapshot("last", 5, tmp_path / "last-5"))  # without its digests

    error = recorded(store, act)
    assert isinstance(error, Undelivered)
    assert (error.status, "is FAILED, but the store does not have" in str(error)) == ("FAILED", True)
    assert settling.settle(spool.folders(store)[0]).message.endswith(", FAILED")
    [run] = records(tmp_path)
    assert (run.status, len(run.points)) == ("FAILED", 5)


# A run that is deleted in the store


def deleted_and_restored(store: str, folder: Path, restore: bool) -> tuple[BaseException | None, str]:
    """Steps 1 to 10 and a checkpoint, then the run is deleted; 11 to 20 and a checkpoint; it is restored, or not."""
    client, ids = stores.open_store(store), []

    def act(one: tracker.Tracker) -> None:
        one._background.keep = 1
        ids.append(one.run_id)
        told(one, *steps(1, 10), checkpoint(folder, 10))
        client.delete_run(one.run_id)
        told(one, *steps(11, 20), checkpoint(folder, 20))
        if restore:
            client.restore_run(one.run_id)
            told(one, *steps(21, 30), checkpoint(folder, 30))

    return recorded(store, act), ids[0]


def test_what_is_refused_while_a_run_is_deleted_is_delivered_when_it_is_restored(store: str, tmp_path: Path):
    error, run_id = deleted_and_restored(store, tmp_path, restore=False)
    assert isinstance(error, Undelivered)
    assert error.status == "FAILED"
    assert f"was deleted; restore it (runner restore {run_id})" in str(error)
    [run] = records(tmp_path)
    assert run.tags["checkpoint.last"] == "checkpoints/last-10", "of the last that the store has taken"
    assert (run.artifacts / "checkpoints/last-10/weights").exists(), "the old one did not go"
    [folder] = spool.folders(store)
    first = settling.settle(folder)
    assert first.undelivered
    assert f"runner sync forget={run_id[:8]}" in first.message
    stores.open_store(store).restore_run(run_id)
    assert settling.settle(folder).message.endswith(", FINISHED")
    [run] = records(tmp_path)
    assert run.points == [("train/loss", step) for step in range(1, 21)]
    assert places(run) == ["last-20"], "and then the old one goes"
    assert (run.status, run.tags["checkpoint.last"]) == ("FINISHED", "checkpoints/last-20")
    assert spool.folders(store) == []


def test_a_run_that_is_restored_while_it_trains_is_whole_at_its_end(store: str, tmp_path: Path):
    error, _ = deleted_and_restored(store, tmp_path, restore=True)
    assert error is None
    [run] = records(tmp_path)
    assert run.points == [("train/loss", step) for step in range(1, 31)]
    assert (run.status, places(run), run.tags["checkpoint.last"]) == ("FINISHED", ["last-30"], "checkpoints/last-30")
    assert spool.folders(store) == []


def test_a_deleted_run_cannot_be_continued_until_it_is_restored_or_let_go_of(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    _, run_id = deleted_and_restored(store, tmp_path, restore=False)
    error = recorded(store, lambda one: None, run_id)
    assert isinstance(error, ConfigError)
    assert "was deleted" in str(error)
    with pytest.raises(ConfigError, match=r"^forget: 'x' is not the id of one run that is yet to be delivered"):
        settling.forget(store, "x")
    chosen = Settings(tracking=Tracking(uri=store))
    assert sync.with_settings(chosen, Context("study", "", []), forget=run_id[:6]).code == 0
    assert capsys.readouterr().out.strip() == f"run {run_id}: let go of 10 points and checkpoints/last-20"
    assert spool.folders(store) == []
    stores.open_store(store).restore_run(run_id)
    assert recorded(store, lambda one: told(one, *steps(11, 12)), run_id) is None
    [run] = records(tmp_path)
    assert run.points == [("train/loss", step) for step in range(1, 13)]


def test_one_name_that_the_store_refuses_takes_nothing_else_along(store: str, tmp_path: Path):
    def act(one: tracker.Tracker) -> None:
        told(one, *steps(1, 3), Epoch(1, 3, {"valid/loss": 0.5, "valid/a?b": 0.5}), checkpoint(tmp_path, 3))

    error = recorded(store, act)
    assert isinstance(error, Undelivered)
    assert "a?b" in str(error)
    [run] = records(tmp_path)
    assert run.points == [*(("train/loss", step) for step in range(1, 4)), ("valid/loss", 3)]
    assert (run.status, run.tags["checkpoint.last"]) == ("FAILED", "checkpoints/last-3")
    [folder] = spool.folders(store)
    taken = spool.take(folder)
    assert taken is not None
    refused = [entry for entry, _ in taken.refused.entries()]
    taken.release()
    assert [point[0] for entry in refused for point in entry.get("points", ())] == ["valid/a?b"]
    assert all("a?b" in entry["refused"] for entry in refused), "with the reason"
    assert settling.settle(folder).undelivered, "nobody has let go of it"


def test_a_spool_that_has_lost_its_header_is_not_thrown_away(store: str, tmp_path: Path):
    one = spool.create(store, "0" * 32, {})
    one.append([{"points": [["a", 1.0, 0, 1]]}])
    one.release()
    (one.folder / "header.json").unlink()
    done = settling.settle(one.folder)
    assert done.undelivered
    assert "header.json is missing" in done.message
    assert (one.folder / "log.jsonl").stat().st_size


# Checkpoints that are named by tags, and those that go


def test_tags_never_name_what_was_replaced_before_it_was_delivered(store: str, tmp_path: Path):
    """A store that was away gets the newest checkpoints, as many as are kept, as if it had been there."""
    client = stores.open_store(store)

    def act(one: tracker.Tracker) -> None:
        told(one, checkpoint(tmp_path, 1), checkpoint(tmp_path, 2))
        away = one._background.client
        one._background.delivery.use(MlflowClient("http://127.0.0.1:1", "http://127.0.0.1:1"))
        told(one, checkpoint(tmp_path, 3), checkpoint(tmp_path, 4))
        one._background._due = 0.0
        told(one, checkpoint(tmp_path, 5))
        one._background.delivery.use(away)

    assert recorded(store, act) is None
    [run] = records(tmp_path)
    assert {"last-4", "last-5"} <= set(places(run))
    kept = json.loads(client.get_run(run.run_id).data.tags["checkpoint.last.kept"])
    assert [one["step"] for one in kept] == [5, 4]


def sent_cut(store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> BaseException | None:
    """A checkpoint, and another that arrives without its last bytes, as on a disk that lies."""
    monkeypatch.setattr(tracker, "CLOSING", 0.1)

    def cut(files: Any, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        for path in files:
            (place / path.name).write_bytes(path.read_bytes()[:-1])

    def act(one: tracker.Tracker) -> None:
        one._background.keep = 1
        told(one, checkpoint(folder, 1))
        monkeypatch.setattr(durable, "publish", cut)
        told(one, checkpoint(folder, 2))

    return recorded(store, act)


def test_a_checkpoint_that_the_store_does_not_hold_as_it_was_sent_replaces_none(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    error = sent_cut(store, tmp_path, monkeypatch)
    assert "checkpoints/last-2 is not whole in the store after it was sent" in str(error)
    [run] = records(tmp_path)
    assert run.tags["checkpoint.last"] == "checkpoints/last-1"
    assert (run.artifacts / "checkpoints/last-1/weights").read_text() == "of step 1"
    monkeypatch.undo()
    assert not settling.settle(spool.folders(store)[0]).undelivered
    assert records(tmp_path)[0].tags["checkpoint.last"] == "checkpoints/last-2"


def test_without_a_look_it_would(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The control of the guard."""
    monkeypatch.setattr(artifacts, "holds", lambda *_: True)
    assert sent_cut(store, tmp_path, monkeypatch) is None
    assert places(*records(tmp_path)) == ["last-2"]


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "the control"])
def test_a_store_cannot_have_another_folder_deleted_by_naming_it_as_a_checkpoint(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "weights").write_text("mine")
    ids: list[str] = []
    recorded(store, lambda one: ids.append(one.run_id))
    [run] = records(tmp_path)
    away = f"checkpoints/../{'../' * len(run.artifacts.parts)}{str(precious)[1:]}"
    (run.artifacts / "checkpoints").mkdir()
    named = json.dumps([{"place": away, "step": 0, "sha256": {"weights": "0"}}])
    stores.open_store(store).set_tag(ids[0], "checkpoint.last.kept", named)
    if not guarded:
        kept = "checkpoint.{}.kept"
        monkeypatch.setattr(
            record_reading, "checkpoints", lambda tags, name: json.loads(tags.get(kept.format(name), "[]"))
        )
        monkeypatch.setattr(record_reading, "place", lambda value, _: value)
        monkeypatch.setattr(checkpoints, "re", SimpleNamespace(fullmatch=lambda *_: True, escape=str))
        monkeypatch.setattr(
            artifacts, "delete", lambda _, run_id, place, patience: shutil.rmtree(run.artifacts / place)
        )

    def act(one: tracker.Tracker) -> None:
        one._background.keep = 1
        told(one, checkpoint(tmp_path, 1))

    assert (recorded(store, act, ids[0]) is None) != guarded  # which does not even go on with such a run
    assert (precious / "weights").exists() == guarded


# A save that fails while the best weights are in the model


def test_a_save_that_fails_while_the_best_weights_are_swapped_in_leaves_the_model_as_it_was(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(durable, "PATIENCE", 0.0)

    def weights(fails_at: int) -> dict[str, torch.Tensor]:
        run: Run = start(epochs=20, optimizer={"name": "SGD", "lr": 0.9}, batch_size=8)
        for step in train(run.state, run.batches(), run.step):
            list(run.after(step))
            if step.step == fails_at:
                assert run.best.step != step.step, "the best weights are others"
                fails(run)
        return run.model.state_dict()

    def fails(run: Run) -> None:
        before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        with disk.small(tmp_path / "disk") as small:
            if small is None:
                pytest.skip("this process may mount no disk of its own")
            run.folder = run.written.folder = small.folder
            small.fill(0)
            with pytest.raises(CheckpointError, match="cannot be written: no space left"):
                list(run.best_snapshot())
        assert all(torch.equal(before[name], tensor) for name, tensor in run.model.state_dict().items())
        run.folder = run.written.folder = tmp_path / "room"

    whole, disturbed = weights(0), weights(29)
    assert all(torch.equal(whole[name], tensor) for name, tensor in disturbed.items())


def test_best_weights_that_do_not_fit_leave_the_model_as_it_was(start: Start):
    run = start()
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run.best.copied = {name: tensor + 1 for name, tensor in before.items()}
    run.best.copied[next(reversed(before))] = torch.zeros(7)
    with pytest.raises(RuntimeError), run.weights("best"):
        raise AssertionError
    assert all(torch.equal(before[name], tensor) for name, tensor in run.model.state_dict().items())


def test_a_run_whose_end_is_broken_off_has_its_own_weights_again(start: Start):
    """`finish` yields while the best weights are in; whoever stops pulling there has the last ones."""
    run = start(epochs=3)
    for step in train(run.state, run.batches(), run.step):
        list(run.after(step))
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run.best.copied = {name: tensor + 1 for name, tensor in before.items()}
    events = finish.finish(run, finish.draw)
    while type(next(events)) is Snapshot:
        pass
    assert not torch.equal(next(iter(before.values())), next(iter(run.model.state_dict().values())))
    events.close()
    assert all(torch.equal(before[name], tensor) for name, tensor in run.model.state_dict().items())


def test_a_spool_that_is_deleted_while_its_store_is_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And raises nothing that nobody awaits."""
    monkeypatch.chdir(tmp_path)
    kept = spool.create("http://127.0.0.1:9", "0" * 32, {})
    kept.append([{"points": [["a", 1.0, 1, 1]]}])
    shutil.rmtree(kept.folder)
    assert kept.missing() == [f"what {kept.folder} should hold"]
    told = leftover.problem(kept, delivery.Delivery(None, kept), "FINISHED", None, OSError("away"))  # type: ignore[arg-type]
    assert isinstance(told, Undelivered)
    assert told.status == "FAILED"
    assert f"what {kept.folder} should hold could not be recorded" in str(told)
