"""MLflow's inner names are there, and every use of one stands in `mlflow_private.py`."""

import ast
import inspect
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from runner.tracking.store import connections, mlflow_private, stores, transfer

ROOT = Path(__file__).parents[2] / "runner"
#: MLflow's modules that are public: https://mlflow.org/docs/latest/api_reference/python_api
PUBLIC = ("mlflow.entities", "mlflow.environment_variables", "mlflow.exceptions", "mlflow.models", "mlflow.pytorch")
REMEDY = f"written for MLflow {mlflow_private.RELEASE}; mend runner/tracking/store/mlflow_private.py"


def test_the_release_is_one_that_was_tried() -> None:
    low, high = (3, 11), tuple(map(int, mlflow_private.RELEASE.split(".")))
    now = tuple(map(int, mlflow.__version__.split(".")[:2]))
    assert low <= now <= high, f"MLflow {mlflow.__version__} is newer: see that the tests here pass, then set RELEASE"


def test_a_local_store_has_its_engine_its_sessions_and_its_tables(store: str) -> None:
    client = stores.open_store(store)
    assert mlflow_private.engine(client).dialect.name == "sqlite", REMEDY
    assert set(mlflow_private.tables(client) or ()) == set(mlflow_private.TABLES), REMEDY
    with mlflow_private.session(client) as session:
        assert callable(session.execute), REMEDY


def test_another_store_has_none() -> None:
    client = mlflow.MlflowClient("http://127.0.0.1:9")
    assert mlflow_private.local_store(client) is None
    assert mlflow_private.tables(client) is None


def test_the_tables_have_the_columns_that_are_read_and_written_by_their_names(store: str) -> None:
    stores.open_store(store)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file:
        for table, column, _ in mlflow_private.PLACES:
            columns = {name for _, name, *_ in file.execute(f"PRAGMA table_info({table})")}
            assert column in columns, f"{table}.{column}: {REMEDY}"
        assert mlflow_private.experiment_places(file)[0][0] == 0, REMEDY
        assert mlflow_private.run_ids(file, 0) == set()
        assert list(mlflow_private.incomplete_runs(file)) == []
        mlflow_private.place_first_experiment(file, "file:///elsewhere")
        assert mlflow_private.experiment_places(file) == [(0, "file:///elsewhere")]


def test_every_place_of_artifacts_in_the_tables_is_known(store: str) -> None:
    """A column with places that a new release brings would not follow a store that is moved."""
    stores.open_store(store)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            (table, name) for table in tables for _, name, *_ in file.execute(f"PRAGMA table_info({table})").fetchall()
        }
    named = {(table, name) for table, name in columns if re.search("artifact_(uri|location)|storage_location", name)}
    assert named <= {(table, column) for table, column, _ in mlflow_private.PLACES}, REMEDY


def test_artifacts_are_sent_and_read_by_the_repositories_that_are_registered(tmp_path: Path) -> None:
    assert {"s3", "file", "mlflow-artifacts"} <= mlflow_private.artifact_schemes(), REMEDY
    repository = mlflow_private.artifact_repository(tmp_path.as_uri(), "sqlite:///x.db")
    for name in ("log_artifacts", "list_artifacts", "download_artifacts", "delete_artifacts"):
        assert callable(getattr(repository, name)), REMEDY
    assert mlflow_private.local_path("file:///a%20b") == Path("/a b"), REMEDY


def test_requests_for_artifacts_have_our_limits() -> None:
    from mlflow.store.artifact import http_artifact_repo

    transfer.install()
    source = inspect.getsource(http_artifact_repo)
    assert re.search(r"\bhttp_request\(", source), f"MLflow makes requests otherwise; {REMEDY}"
    assert "requests.put(" in source, f"MLflow sends parts of files otherwise; {REMEDY}"
    assert http_artifact_repo.http_request.__module__ == transfer.__name__
    assert type(http_artifact_repo.requests).__module__ == transfer.__name__


def test_sessions_have_our_adapter_and_its_pools_our_connections() -> None:
    from mlflow.utils import request_utils
    from requests import adapters
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection

    connections.install()
    assert request_utils.TCPKeepAliveHTTPAdapter.of_runner, REMEDY
    assert issubclass(request_utils.TCPKeepAliveHTTPAdapter, adapters.HTTPAdapter), REMEDY
    adapter = request_utils.TCPKeepAliveHTTPAdapter()
    pools = adapter.poolmanager.pool_classes_by_scheme
    assert [issubclass(pools[s], k) for s, k in (("http", HTTPConnectionPool), ("https", HTTPSConnectionPool))]
    for pool in pools.values():
        assert issubclass(pool.ConnectionCls, HTTPConnection), REMEDY
        assert isinstance(inspect.getattr_static(pool.ConnectionCls, "is_connected"), property), REMEDY
    assert isinstance(inspect.getattr_static(HTTPConnection, "is_connected"), property), "of urllib3"
    assert adapter.proxy_manager_for("http://127.0.0.1:9").pool_classes_by_scheme is pools


def private_names(path: Path) -> list[str]:
    """MLflow's modules that are not public, and attributes with an underscore of anything but our own."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        name
        for node in imports
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [str(node.module)])
        if name.startswith("mlflow.") and not name.startswith(PUBLIC)
    ]
    ours = [node for node in imports if isinstance(node, ast.ImportFrom) and str(node.module).startswith("runner")]
    own = {"self", "cls", "os", *(alias.asname or alias.name for node in ours for alias in node.names)}
    attributes = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in own)
    ]
    return [*modules, *attributes]


CHECKERS = ("from mlflow.store.artifact.artifact_repo import ArtifactRepository",)  # for annotations alone


@pytest.mark.parametrize("path", sorted((ROOT / "tracking").rglob("*.py")), ids=lambda path: path.name)
def test_no_other_file_uses_one(path: Path) -> None:
    if path.name != "mlflow_private.py":
        names = private_names(path)
        if any(line in path.read_text() for line in CHECKERS):
            names = [name for name in names if name != "mlflow.store.artifact.artifact_repo"]
        assert names == [], "it belongs into mlflow_private.py"


def test_a_use_in_another_file_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from mlflow.utils import request_utils\nclient._tracking_client.store\n")
    assert private_names(tmp_path / "bad.py") == ["mlflow.utils", "client._tracking_client"]
