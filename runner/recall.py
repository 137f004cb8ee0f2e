"""Runs of the past: which one is meant, how it was configured, what it weighed."""

import dataclasses
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import Tensor

from runner import checkpoint, reconcile, stores
from runner.lookup import ConfigError
from runner.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: A hexadecimal run id of MLflow's has this many characters.
WHOLE = 32


def find_run(uri: str, run: str) -> str:
    """The id of the run meant by `run`: an id, a unique prefix of one, or `last`, the newest.

    Raises ConfigError when there is no such run, or several.
    """
    client = _open(uri)
    reconcile.reconcile(client)
    found = _candidates(client, run)
    if not found:
        what = "there are no runs" if run == "last" else f"no run's id begins with {run!r}"
        raise ConfigError("", f"{what} in {uri}; `runner runs` shows those that there are")
    if len(found) > 1:
        raise ConfigError("", f"{run!r} is the beginning of {', '.join(r[:12] for r in found)}; give more of it")
    return found[0]


def settings(uri: str, run_id: str) -> Settings:
    """The configuration that the run was made with."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        path = _artifact(_open(uri), run_id, "config.yaml", folder)
        return _made(Settings, yaml.safe_load(path.read_text()), "")  # type: ignore[no-any-return]


def data(uri: str, run_id: str) -> dict[str, Any]:
    """What the run has noted of its data: `task`, `classes`, `notes`, and `example`, the shape and type of an input."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        path = _artifact(_open(uri), run_id, "data.json", folder)
        return json.loads(path.read_text())  # type: ignore[no-any-return]


def weights(uri: str, run_id: str, name: str = "last", classes: Iterable[type] = ()) -> dict[str, Tensor]:
    """Parameters and buffers of the run's checkpoint `last` or `best`. No code in the file is run.

    classes: of the modules, for a checkpoint that is a full model and no state_dict.
    Raises CheckpointError when the file is damaged, or another one than the run's tags tell of.
    """
    client = _open(uri)
    told = json.loads(client.get_run(run_id).data.tags.get(f"checkpoint.{name}.sha256", "{}"))
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        files = _artifact(client, run_id, f"checkpoints/{name}", folder)
        state_dict, model = (files / checkpoint.FILES[kind] for kind in ("state_dict", "model"))
        if state_dict.exists():
            return checkpoint.load_state_dict(state_dict, told.get(state_dict.name))
        return checkpoint.load_model(model, classes, told.get(model.name)).state_dict()


def _open(uri: str) -> "MlflowClient":
    path = stores.sqlite_path(uri)
    if path is not None and not path.exists():
        raise ConfigError("tracking.uri", f"there is no store {path}; train first, or name another")
    return stores.open_store(uri)


def _candidates(client: "MlflowClient", run: str) -> list[str]:
    ids = [e.experiment_id for e in client.search_experiments()]
    if run == "last":
        newest = client.search_runs(ids, max_results=1, order_by=["attributes.start_time DESC"])
        return [r.info.run_id for r in newest]
    if not run.isalnum():
        return []
    relation = f"= '{run}'" if len(run) == WHOLE else f"LIKE '{run}%'"
    return [r.info.run_id for r in client.search_runs(ids, f"attributes.run_id {relation}", max_results=10)]


def _artifact(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path:
    """A local copy; of a local store the file itself."""
    parent, _, last = name.rpartition("/")
    if not any(Path(found.path).name == last for found in client.list_artifacts(run_id, parent or None)):
        status = client.get_run(run_id).info.status
        raise ConfigError("", f"run {run_id} is {status} and kept no {name}; was it trained to its end by runner?")
    return Path(client.download_artifacts(run_id, name, folder))


def _made(kind: Any, values: dict[str, Any], parent: str) -> Any:
    """A dataclass from plain values; keys that have come later keep their defaults."""
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"{parent}{name}", "the run was made by another version of runner, with a key that this one lacks"
            )
        inner = dataclasses.is_dataclass(fields[name])
        given[name] = _made(fields[name], value, f"{parent}{name}.") if inner else value
    return kind(**given)
