"""A process that does the same again and again holds no more files and threads than after the first time."""

import gc
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runner as package
from runner.cli import invoke
from runner.commands import evaluate
from runner.tracking.store import stores
from tests import conftest
from tests.support.command import _context

#: Rounds of which one must hold no more than before: threads that meet by chance open a connection more, at most five
#: of a store, and a leak grows in every round.
ROUNDS = 5
SHORT = ["trainer.epochs=2", "plots=[]"]


def held() -> tuple[int, int]:
    """(open descriptors, threads) of this process."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def is_more(before: tuple[int, int]) -> bool:
    """Whether more is held than before, also after a while: a thread of an earlier test's server may be at its end."""
    for _ in range(100):
        if all(now <= then for now, then in zip(held(), before, strict=True)):
            return False
        time.sleep(0.1)
    return True


def typed(command: str, *words: str) -> int:
    """Run a command in this process, as the command line does."""
    return invoke.invoke([command, *words]).code


def grown(place: Path, store: str, answers: Any) -> None:
    """Put the commands that hold more at each time into `answers`: in a process that has done nothing before."""
    os.chdir(place)
    commands: dict[str, Callable[[], Any]] = {
        "train": lambda: typed("train", *SHORT),
        "load": lambda: package.load("last", store),
        "evaluate": lambda: evaluate.with_run(store, "last", lambda settings: settings, split="valid"),
        "runs": lambda: typed("runs"),
        "sync": lambda: typed("sync"),
        "check": lambda: typed("check", "-m", "seed=0,1"),
        "sweep": lambda: typed("train", "-m", "seed=0,1", "sweep.plots=false", *SHORT),
    }
    more = {}
    for name, command in commands.items():
        command()
        command()  # what is kept for the next time: a second connection, fonts
        for _ in range(ROUNDS):
            before = held()
            for _ in range(2 if name == "sweep" else 6):
                command()
            if not is_more(before):
                break
        else:
            more[name] = f"{before} -> {held()}"
    answers.put(more)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_the_same_command_again_and_again_holds_no_more_than_at_first(workplace: Path, store: str) -> None:
    answers = _context.SimpleQueue()
    process = _context.Process(target=grown, args=(workplace, store, answers))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert answers.get() == {}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
@pytest.mark.parametrize("closing", [True, False], ids=["closed", "without the mend"])
def test_many_stores_in_one_process_hold_no_more_than_a_few(
    closing: bool, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not closing:
        monkeypatch.setattr(stores._Store, "close_idle", lambda store: None)
    before = held()[0]
    for number in range(24):
        path = tmp_path / f"{number % 16}" / "mlflow.db"  # some of them again, another file under the same name
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        shutil.copy(empty_store, path)
        client = stores.open_store(f"sqlite:///{path}")
        client.create_run(stores.experiment(client, f"sqlite:///{path}", "x").experiment_id)
    first = stores.open_store(f"sqlite:///{tmp_path}/12/mlflow.db")
    assert len(first.search_runs(["1"])) == 1, "what was closed is opened again"
    each = 6  # two connections with their logs, and what these share
    assert (held()[0] - before <= each * (stores.OPEN + 1)) == closing


def test_stores_that_are_gone_do_no_harm_to_the_next(empty_store: Path, tmp_path: Path) -> None:
    """MLflow forgets a store when it has opened a hundred others, and opens it again for whoever asks its client."""
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    for number in range(stores.OPEN + 4):
        path = tmp_path / f"{number}" / "mlflow.db"
        path.parent.mkdir()
        shutil.copy(empty_store, path)
        client = stores.open_store(f"sqlite:///{path}")
        assert [one.name for one in client.search_experiments()] == ["Default"]
        shutil.rmtree(path.parent)
        _tracking_store_registry._get_store_with_resolved_uri.cache_clear()


def test_what_a_test_leaves_where_the_tests_were_begun_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = conftest.nothing_left.__wrapped__()  # type: ignore[attr-defined]
    monkeypatch.setattr(conftest, "BEGUN", tmp_path)
    next(made)
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(AssertionError, match="has made mlruns in"):
        next(made)
