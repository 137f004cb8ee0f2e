"""What several test files start from: a tracking store that is ready at once, and runs under way."""

import atexit
import importlib.util
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

# One thread, in the commands that tests begin as well, before torch is loaded: several processes test at once, and on a
# busy machine threads that wait for each other cost ten times such small arithmetic. Tests of threads say otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The key by which a spool is known to be one's own is in a user's home, which tests leave alone.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="runner-tests-")

import torch

from runner.settings import Checkpoint, Model, Settings, Trainer
from runner.settings.trust import permission
from runner.settings.values.lookup import use_folder
from runner.tracking.store import stores
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.support import torchvision_here
from tests.support.line import S3, Line, environment

if TYPE_CHECKING:
    from tests.support.server import Server
torchvision_here.install()
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what long.yaml leaves out. Raises UsageError, where all tests are collected, for a name of none of them."""
    here = Path(__file__).parent
    usual = yaml.safe_load((here / "long.yaml").read_text())
    names = {test: cases["but"] if isinstance(cases, dict) else cases for test, cases in usual.items()}
    unknown = {(test, case) for test, cases in names.items() for case in (isinstance(cases, list) and cases) or [None]}
    seen: Counter[str] = Counter()
    for item in items:
        function = getattr(item, "originalname", item.name)
        test = f"{item.path.relative_to(here)}::{function}"
        if test not in usual:
            continue
        case = item.name.removeprefix(function)[1:-1]
        unknown -= {(test, case), (test, None)}
        share = usual[test]
        stays = not seen[test] % share if isinstance(share, int) else (case in names[test]) != isinstance(share, dict)
        if not stays:
            item.add_marker(pytest.mark.long)
        seen[test] += 1
    if unknown and config.args == config.getini("testpaths"):
        raise pytest.UsageError(f"tests/long.yaml: there are no such tests: {sorted(map(str, unknown))}")


@pytest.fixture(autouse=True)
def torchvision_or_none(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip tests of the marker `vision` without torchvision; processes that they begin import it as this one does."""
    if request.node.get_closest_marker("vision") is not None:
        if importlib.util.find_spec("torchvision") is None:
            pytest.skip(torchvision_here.REASON)
        monkeypatch.setenv("PYTHONPATH", torchvision_here.path())


@pytest.fixture(autouse=True)
def own_store() -> Iterator[None]:
    """MLflow puts the store that it is told into the environment, where the next test's commands would find it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def nothing_typed() -> Iterator[None]:
    """What was typed for one test, and where, is not for the next."""
    yield
    for held in (permission._words, permission._places, permission._folder):
        held.clear()


#: Where the tests were begun, and what commands leave in their working directory: nothing of it belongs there.
BEGUN, LEAVINGS = Path.cwd(), ("mlruns", "mlflow.db", "outputs", "multirun", ".runner")


def left() -> list[str]:
    """Return the leavings of commands in the directory in which the tests were begun."""
    return [name for name in LEAVINGS if (BEGUN / name).exists()]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Each test works in a place of its own. Of several workers the one is named whose test ends first."""
    before = left()
    yield
    made = [name for name in left() if name not in before]
    assert not made, f"this test, or one at work beside it, has made {', '.join(made)} in {BEGUN}"


@pytest.fixture(autouse=True)
def stores_closed() -> Iterator[None]:
    """MLflow keeps the connections of every store that a process has opened, and each test has a store of its own."""
    yield
    module = sys.modules.get("mlflow.store.tracking.sqlalchemy_store")
    engines = module.SqlAlchemyStore._engine_map if module else {}
    while engines:
        engines.popitem()[1].dispose()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow store. To make one takes seconds, to copy it nothing."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    stores.open_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path


@pytest.fixture(scope="session")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """An MLflow server on a store of its own."""
    from tests.support.server import Server

    made = Server(empty_store, tmp_path_factory.mktemp("server"))
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The URI of an empty MLflow store of the test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def workplace(store: str, tmp_path: Path) -> Path:
    """A working directory for commands, with an empty store in it."""
    return tmp_path


@pytest.fixture
def experiments(tmp_path: Path) -> Iterator[Path]:
    """An `experiments` folder of the user's; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "experiments"}
    for name in before:
        del sys.modules[name]
    use_folder(folder)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    sys.modules.update(before)


Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Prepare a run: `start(epochs=3, layers=[...], optimizer={...})`; keys of the trainer stand beside the others."""
    runs: list[Run] = []
    yield lambda **changes: runs.append(prepare(settings(**changes), "test")) or runs[-1]
    for run in runs:
        run.close()
    torch.use_deterministic_algorithms(False)


def settings(layers: Any = ("Linear",), every: Any = None, format: str = "state_dict", **changes: Any) -> Settings:
    """A small regression; `changes` are keys of the settings or of the trainer."""
    given = {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
    made = Settings(
        data={"name": "line", "points": 64, "valid": 40},
        model=Model(layers=[{"Linear": 1}] if layers == ("Linear",) else layers),
        loss={"name": "MSELoss"},
        optimizer={"name": "SGD", "lr": 0.1},
        plots=[],
        trainer=Trainer(**{"epochs": 3, "threads": 1, **changes}),
        checkpoint=Checkpoint(every, format),
    )
    for name, value in given.items():
        setattr(made, name, value)
    return made


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    made = S3()
    yield made
    made.stop()


@pytest.fixture
def line(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to the S3, by which this process and those that are begun from now on find it."""
    from mlflow.store.artifact import s3_artifact_repo

    made = Line(s3.port)
    for name, value in environment(made).items():
        monkeypatch.setenv(name, value)
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    yield made
    made.close()
