"""All that the record of a run has, as plain values: what it was, how it went, its files, and commands about it."""

import contextlib
import dataclasses
import re
import shlex
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner.settings import Tracking
from runner.settings.errors import ConfigError, Unreachable, first_line
from runner.settings.trust import record_reading, secrets
from runner.tracking import pages
from runner.tracking.environment import OVERRIDES
from runner.tracking.read import plain, recall
from runner.tracking.store import artifact_places, artifacts, mlflow_private, reconcile, stores

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags of versions and of the machine, by the names that a reader looks for.
VERSIONS = {"runner": "runner.version", "python": "python", "torch": "torch", "cuda": "cuda", "cudnn": "cudnn"}
MACHINE = ("device", "cpu", "threads", "host")
#: The tag of a run that repeats another one, with that one's id.
AGAIN = "runner.again"


def record(uri: str, run_id: str) -> dict[str, Any]:
    """Return what `plain.run` has of a run, and all else that its record has.

    uri, reason (of its status), study, overrides (as typed), again (the id of the run that it repeats), config, data
    (task, classes, examples, sha256, report), parameters (of the model), versions, machine, git, steps, epochs, best
    (metric, value, step), history (metric -> first, last, lowest, highest, each with its step), tested, checkpoints,
    folder (of the artifacts, on this machine), files (path and bytes), bytes, warnings, commands.
    Values that the record does not have, or that are damaged, are None; `warnings` has a line for each damaged one.
    """
    client = recall.existing(uri)
    run = client.get_run(run_id)
    names = {run.info.experiment_id: client.get_experiment(run.info.experiment_id).name}
    tags: dict[str, str] = dict(run.data.tags)
    facts, warnings = plain.run(stores.row(run, names)), _warnings(client, run_id, tags)
    overrides = typed_with(tags)
    is_sweep = facts["kind"] == "sweep"
    history = _history(client, run_id, list(run.data.metrics))
    files = _tried(warnings, "files", lambda: artifacts.listed(client, run_id)) or []
    config = None if is_sweep else _tried(warnings, "config", lambda: dataclasses.asdict(recall.settings(uri, run_id)))
    data = None if is_sweep else _tried(warnings, "data", lambda: recall.data(uri, run_id))
    study = next((w.partition("=")[2] for w in overrides if re.match(r"\+?experiments=", w)), None)
    return facts | {
        "uri": secrets.masked_uri(uri),
        "reason": secrets.masked(tags.get("runner.status_reason", "")),
        "study": study,
        "overrides": overrides,
        "again": tags.get(AGAIN),
        "config": secrets.without(config),
        "data": secrets.without(data),
        "parameters": _whole(tags.get("model.parameters")),
        "versions": {name: tags[tag] for name, tag in VERSIONS.items() if tag in tags},
        "machine": {name: tags[name] for name in MACHINE if name in tags},
        "git": {"commit": tags.get("mlflow.source.git.commit"), "state": tags.get("git.state")},
        "steps": history.get("train/loss", {}).get("last", {}).get("step"),
        "epochs": _whole(run.data.metrics.get("epoch")),
        "best": _best(tags),
        "history": history,
        "tested": _tested(tags),
        "checkpoints": {name: kept for name in ("last", "best") if (kept := _checkpoints(tags, name, warnings))},
        "folder": None if (folder := artifact_places.local(client, run_id)) is None else str(folder),
        "files": [{"path": path, "bytes": size} for path, size in files],
        "bytes": sum(size for _, size in files),
        "warnings": warnings,
        "commands": commands(facts, overrides, uri, pages.seen(uri, run_id, run.info.experiment_id)),
    }


def commands(facts: Mapping[str, Any], overrides: list[str], uri: str, page: str) -> dict[str, str]:
    """Return the commands about a run by what they do.

    facts: of `plain.run`. overrides: as it was typed with. page: how it is seen, of `pages.seen`.
    """
    from runner.settings.trust.typed_words import pasted

    short, kind = facts["id"][:8], facts["kind"]
    shown = secrets.masked_uri(uri)
    store = "" if uri == Tracking().uri else f" {pasted('tracking.uri', shown)}"
    typed = secrets.masked(shlex.join(["runner", *(["-m"] if kind == "sweep" else []), *overrides]))
    known = {"again": f"runner again {short}{store}", "typed": f"{typed}{store}"}
    if facts["status"] != "FINISHED":
        known["resume"] = f"runner resume {short}{store}"
    elif kind != "sweep":
        known["longer"] = f"runner resume {short} trainer.epochs=N{store}"
    if kind != "sweep":
        known["reproduce"] = f"runner reproduce {short}{store}"
        known["load"] = f"runner.load({short!r}{f', {shown!r}' if store else ''})"
    return known | {"see": page}


def typed_with(tags: Mapping[str, str]) -> list[str]:
    """Return the words that a run or a sweep was started with; [] for a record without them."""
    try:
        return [word for word in shlex.split(tags.get(OVERRIDES, "")) if word not in ("-m", "--multirun")]
    except ValueError:  # damaged
        return []


def _history(client: "MlflowClient", run_id: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return of each metric its first, last, lowest and highest value with their steps, and the number of values."""
    path = stores.sqlite_path(str(client.tracking_uri))
    if path is not None:
        with contextlib.closing(sqlite3.connect(path)) as store:
            return dict(sorted(mlflow_private.extremes(store, run_id).items()))
    return {name: _extremes(client.get_metric_history(run_id, name)) for name in sorted(names)}


def _extremes(points: list[Any]) -> dict[str, Any]:
    ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
    numbers = [point for point in ordered if point.value == point.value]  # no NaN
    chosen = {"first": ordered[:1], "last": ordered[-1:]}
    if numbers:
        chosen |= {"lowest": [min(numbers, key=_value)], "highest": [max(numbers, key=_value)]}
    return {"values": len(points)} | {k: {"step": p[0].step, "value": p[0].value} for k, p in chosen.items() if p}


def _value(point: Any) -> float:
    return float(point.value)


def _best(tags: Mapping[str, str]) -> dict[str, Any] | None:
    if "best.metric" not in tags:
        return None
    value = record_reading.number(tags.get("best.value"), 0.0)
    return {"metric": tags["best.metric"], "value": value, "step": _whole(tags.get("best.step"))}


def _tested(tags: Mapping[str, str]) -> dict[str, Any] | None:
    if "test.checkpoint" not in tags:
        return None
    return {"checkpoint": tags["test.checkpoint"], "step": _whole(tags.get("test.step"))}


def _checkpoints(tags: Mapping[str, str], name: str, warnings: list[str]) -> list[dict[str, Any]]:
    return _tried(warnings, f"checkpoint {name}", lambda: record_reading.checkpoints(tags, name)) or []


def _whole(value: Any) -> int | None:
    number = record_reading.number(value, -1.0)
    return int(number) if number >= 0 else None


def _tried(warnings: list[str], name: str, read: Any) -> Any:
    """Return what `read` returns; None, with a line in `warnings`, for a part of the record that cannot be read."""
    try:
        return read()
    except (ConfigError, Unreachable, OSError) as error:
        warnings.append(f"{name}: {first_line(error)}")
        return None


def _warnings(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> list[str]:
    """Return lines about what is unusual in a run: that it was continued, what changed then, what was not kept."""
    lines = [f"changed while it was continued: {key[6:]}: {tags[key]}" for key in sorted(tags) if key[:6] == "drift."]
    if tags.get("runner.resumed"):
        lines.append(f"continued {tags['runner.resumed']}")
    if "sweep.pruned" in tags:
        lines.append(f"pruned after epoch {tags['sweep.pruned']}")
    if tags.get(recall.DROPPED):
        lines.append(f"its files were not kept: sweep.keep={tags[recall.DROPPED]}")
    if reconcile.waits(client, run_id):
        lines.append("a part of its record has yet to be delivered: runner sync")
    if tags.get("git.state") == "changed":
        lines.append("it ran with uncommitted changes, which its git commit does not contain")
    return [secrets.masked(record_reading.line(line)) for line in lines]
