"""Worker processes that read data: whatever becomes of a run, they end with it, and a stop loses no step."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from runner.data import Data
from runner.training.drive import drive
from runner.training.events import Step
from runner.training.run import Run
from tests.conftest import Start
from tests.support import pretend
from tests.support.command import HANGS, runner
from tests.support.on_disk import OnDisk

#: A dataset that takes its time, and draws.
SOURCE = """
import time
import torch
from runner.data import Data

class Slow(torch.utils.data.Dataset):
    def __init__(self, count, first):
        self.count, self.first = count, first
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        time.sleep(0.005)
        x = torch.full((3,), float(index + self.first)) / 100
        return x + torch.rand(3) / 10, x[:1]

def slow(**_):
    return Data(Slow(40, 0), Slow(16, 64))
"""
WORDS = (
    *("data.name=experiments.slow.slow", "model.layers=[{Linear:4},ReLU,{Dropout:0.3},{Linear:1}]", "device=cpu"),
    *("trainer.batch_size=8", "trainer.epochs=12", "plots=[]", "trainer.threads=1"),
)


@pytest.fixture
def place(workplace: Path) -> Path:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/slow.py").write_text(SOURCE)
    return workplace


@pytest.fixture
def begun(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a session of its own, with two workers for training and two for validation."""
    command = [sys.executable, "-m", "runner", *WORDS, "trainer.workers=2"]
    with (place / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=place, stdout=out, stderr=out, start_new_session=True)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANGS)


def children(of: int) -> list[int]:
    """The processes that `of` has begun."""
    threads = Path(f"/proc/{of}/task").glob("*/children")
    return [int(word) for path in threads for word in path.read_text().split()]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def waited(condition: Any) -> bool:
    """Whether a condition comes true before a test hangs."""
    end = time.monotonic() + HANGS
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    """The four workers, once all are at work."""
    assert waited(lambda: len(children(process.pid)) >= 4 or process.poll() is not None)
    found = children(process.pid)
    assert len(found) == 4, "training and validation have two each, begun once"
    return found


def losses(place: Path) -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    [run] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    names = ("train/loss", "valid/loss")
    return [(p.step, p.value) for name in names for p in client.get_metric_history(run.info.run_id, name)]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_of_a_run_saves_it_and_ends_its_workers(
    begun: subprocess.Popen[bytes], place: Path, number: int, code: int, empty_store: Path, tmp_path: Path
) -> None:
    """As by Ctrl-C, or by a scheduler that ends a job: it goes on with no workers, as if nothing had been."""
    found = workers(begun)
    os.killpg(begun.pid, number)
    begun.wait(HANGS)
    text = (place / "out").read_text()
    assert begun.returncode == code, text
    assert "Traceback" not in text
    assert waited(lambda: not any(map(is_alive, found)))
    runner("resume", "last", "trainer.workers=0", cwd=place)
    stopped = losses(place)
    (place / "mlflow.db").write_bytes(empty_store.read_bytes())
    runner(*WORDS, cwd=place)
    assert stopped == losses(place)


#: Each worker is told to end at the first moment there is of it, by another process than the one that reads.
TOLD_AT_ONCE = """
import os, signal, torch
from runner.data._reading import Reader
torch.multiprocessing.set_start_method("fork")
source = torch.utils.data.TensorDataset(torch.arange(8.0), torch.zeros(8))
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
reader = Reader(source, workers=2)
assert [x.tolist() for x, _ in reader.read([(0, [1, 2]), (1, [3])])] == [[1.0, 2.0], [3.0]]
reader.close()
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a start method that forks")
def test_a_worker_that_has_just_begun_leaves_signals_to_the_run_too() -> None:
    """And the run's own process is ended by one, as before."""
    done = subprocess.run([sys.executable, "-c", TOLD_AT_ONCE], capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
def test_workers_of_a_killed_run_end(begun: subprocess.Popen[bytes]) -> None:
    found = workers(begun)
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait(HANGS)
    assert waited(lambda: not any(map(is_alive, found)))


def test_on_another_device_nothing_changes(place: Path, empty_store: Path) -> None:
    """Nor by workers that are no forks of the run, as those of this process, a fork of a server, are not."""
    still = [word.replace(",{Dropout:0.3}", "").replace("epochs=12", "epochs=3") for word in WORDS]
    runner(*still, cwd=place)
    stayed = losses(place)
    (place / "mlflow.db").write_bytes(empty_store.read_bytes())
    env = pretend.environment(place / "site")
    moved = (
        "device=pretend",
        "trainer.graph=false",
        "trainer.workers=2",
        "checkpoint.every=7 steps",
        "trainer.epochs=2",
    )
    runner(*still, *moved, cwd=place, env=env)
    runner("resume", "last", "trainer.epochs=3", cwd=place, env=env)
    assert [step for step, _ in losses(place)] == [step for step, _ in stayed]
    assert [value for _, value in losses(place)] == pytest.approx([value for _, value in stayed], rel=1e-6)


class Drawing(OnDisk):
    """Examples with noise that is drawn when they are read."""

    def __getitem__(self, index: int) -> Any:
        x, y = self.inner[index]
        return x + torch.rand(x.shape), y


def of_parts(run: Run, kind: Any, count: int) -> Run:
    """The run with its data as datasets, read by so many workers."""
    data: Data = run.data
    for part in ("train", "valid"):
        object.__setattr__(data, part, kind(getattr(data, part)))
    run.settings.trainer.workers = count
    return run


NOISY = {"layers": [{"Linear": 4}, "ReLU", {"Dropout": 0.3}, {"Linear": 1}], "batch_size": 8, "epochs": 3}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("kind", [OnDisk, Drawing])
def test_workers_give_what_the_run_itself_reads(start: Start, kind: Any) -> None:
    """Also of a dataset that draws, which does not touch what the model draws."""
    histories = []
    for count in (0, 4):
        run = of_parts(start(**NOISY), kind, count)
        drive(run)
        histories.append({name: list(points) for name, points in run.history.items()})
    assert histories[0] == histories[1]


def test_a_dataset_that_draws_gives_other_numbers_in_each_epoch(start: Start) -> None:
    run = of_parts(start(**NOISY, shuffle=False), Drawing, 0)
    seen = [parts[0][1][0] for parts in run.batches()]
    assert not torch.equal(seen[0], seen[run.steps_per_epoch])


@pytest.mark.parametrize("ends", ["finished", "stopped early", "failed"])
def test_no_worker_outlives_its_training(start: Start, ends: str) -> None:
    run = of_parts(start(**NOISY, monitor="train/loss"), OnDisk, 2)
    seen: set[int] = set()

    class Watch:
        def record(self, event: Any) -> None:
            seen.update(children(os.getpid()))
            if isinstance(event, Step) and event.step == run.steps_per_epoch + 2:
                run.stopped = "enough" if ends == "stopped early" else ""
                if ends == "failed":
                    raise RuntimeError("on purpose")

    before = set(children(os.getpid()))
    try:
        drive(run, Watch())
    except RuntimeError as error:
        kept = error  # with all frames of the training
        assert ends == "failed", kept
    assert len(seen - before) == 6, "two to train, to validate, and to evaluate the training data, begun once"
    assert not any(map(is_alive, seen - before))


def test_a_batch_that_is_held_is_not_written_into(start: Start) -> None:
    run = of_parts(start(**NOISY), OnDisk, 2)
    held = [parts[0][1] for parts in run.batches()]
    again = [parts[0][1] for parts in of_parts(start(**NOISY), OnDisk, 0).batches()]
    assert len(held) == run.steps
    assert all(
        torch.equal(p, q) for one, other in zip(held, again, strict=True) for p, q in zip(one, other, strict=True)
    )


def test_a_pass_that_is_left_drops_what_is_on_its_way(start: Start) -> None:
    run = of_parts(start(**NOISY), OnDisk, 2)
    source = run.data.valid
    assert source is not None
    whole = [x for x, _ in run.readers.whole(source, True)]
    next(run.readers.whole(source, True))
    assert all(torch.equal(p, x) for p, (x, _) in zip(whole, run.readers.whole(source, True), strict=True))
