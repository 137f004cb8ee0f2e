"""The identity of a run in its record: its name, and the tags, params and files about what it was made with."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from runner.settings import Tracking, loaded
from runner.settings.context import LONGEST, Context
from runner.settings.files import filenames
from runner.settings.trust import secrets
from runner.settings.values.tags import letters

if TYPE_CHECKING:
    from runner.data import Data
    from runner.training.run import Run

T = TypeVar("T")

#: Tag of a run whose model was trained as one program with others: the number of them all.
TOGETHER = "sweep.together"
#: Tag with the number of a model's parameters.
SIZE = "model.parameters"
#: Tag of a run that is no real one, with what it was for: `trainer.debug`.
DEBUG = "runner.debug"


#: Tags, params (dotted key -> value) and files (artifact name -> content) of a run.
Identity = tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]


def name(context: Context, tracking: Tracking) -> str:
    """Return the run's name: `tracking.run_name` or the title of its configuration, cut at what a store takes.

    A job of a sweep has both, so that no two jobs have the same name.
    """
    both = tracking.run_name and context.job
    full = f"{tracking.run_name}: {context.title}" if both else tracking.run_name or context.title
    return filenames.bounded(full, LONGEST)


def of_run(
    run: "Run",
    context: Context,
    run_id: str = "",
    drift: dict[str, str] | None = None,
    known: dict[Any, Any] | None = None,
) -> Identity:
    """Return the tags, params and files about what a run is made with; for one that continues, those to add.

    Secrets are left out or masked.
    run_id: of the run to continue; "": a new one. drift: tags with what has changed in a run that continues.
    known: what was found for other runs, in a block of `secrets.steady` in which nothing but the runs changes.
    """
    return (
        _new(run, context, {} if known is None else known)
        if not run_id or not run.state.step
        else _continued(run, context, drift or {})
    )


def _new(run: "Run", context: Context, known: dict[Any, Any]) -> Identity:
    from runner.tracking import environment, own_code
    from runner.training.augment import balanced

    code, code_files = _once(known, "code", own_code.record)
    threads = torch.get_num_threads()
    machine = _once(known, ("machine", run.device, threads), lambda: environment.tags([], run.device))
    machine = {**machine, environment.OVERRIDES: environment.written(context.overrides)}
    own = secrets.without(run.settings.tracking.tags)
    tags = {**machine, **balanced.described(run.loss), **own, **context.tags, **code, **_debugged(run)}
    tags |= {SIZE: str(sum(layer.parameters for layer in run.stack.layers))}
    tags |= {f"start.{name}": secrets.masked(value) for name, value in run.start.facts.items()}
    tags |= {f"{loaded.TAG}{name}": value for name, value in run.loaded.items()}
    files: dict[str, str | bytes] = {
        **code_files,
        "config.yaml": context.yaml,
        "environment.txt": environment.text_of(machine),
        "data.json": _once(known, _parts(run), lambda: _data_text(run)),
    }
    return tags, _params(run.settings, known), files


def _debugged(run: "Run") -> dict[str, str]:
    kind = run.settings.trainer.debug
    return {DEBUG: kind} if kind else {}


def _once(known: dict[Any, Any], key: Any, find: Callable[[], T]) -> T:
    if key not in known:
        known[key] = find()
    return known[key]  # type: ignore[no-any-return]


def _parts(run: "Run") -> Any:
    """Return a key that is equal for runs with the same parts of data, which they hold meanwhile."""
    return ("data", run.stack.first, *(id(getattr(run.data, part.name)) for part in dataclasses.fields(run.data)))


def _data_text(run: "Run") -> str:
    return json.dumps(data_facts(run.data, run.stack.first), indent=2, default=str) + "\n"


def _params(settings: Any, known: dict[Any, Any]) -> dict[str, str]:
    """Return the params of settings without secrets; those of equal parts are found once."""
    result: dict[str, str] = {}
    for part in dataclasses.fields(settings):
        value = getattr(settings, part.name)
        result |= _once(known, (part.name, repr(value)), partial(_of_part, part.name, value))
    return result


def _of_part(name: str, value: Any) -> dict[str, str]:
    return params(secrets.without({name: _plain(value)}))


def _plain(value: Any) -> Any:
    """Return dicts for dataclasses, at any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _continued(run: "Run", context: Context, drift: dict[str, str]) -> Identity:
    """Return what to add to a run that continues; what it was made with stays."""
    from runner.tracking import environment, own_code

    step = run.state.step
    code, code_files = own_code.drifted(step)
    tags = {**drift, **code, **_debugged(run), "runner.resumed": f"after step {step}"}
    files: dict[str, str | bytes] = {
        **code_files,
        f"environment-{step}.txt": environment.text(context.overrides, run.device),
    }
    return tags, {}, {**files, "config.yaml": context.yaml} if drift else files


def data_facts(data: "Data", first: bool | str = False) -> dict[str, Any]:
    """Return data.json, the facts of the training data that a later user of the model needs.

    task, classes and notes of the source; `example`, the shape and type of one input without the batch; `examples`,
    how many each part has; `rows`, where
    inputs are indices, how many there may be; `sha256`, the digests of the parts.
    first: the model takes the first tensor of an example, or that of a name, see `runner.model.graph.Graph`; that one
    is noted alone.
    """
    from runner.data import nests
    from runner.data._rows import rows
    from runner.model import graph
    from runner.training.state.fingerprint import fingerprint

    classes = data.classes
    classes = {k: list(v) for k, v in classes.items()} if isinstance(classes, dict) else list(classes)
    x = graph.first(data.train[0][0], first) if first else data.train[0][0]
    facts = {"task": data.task, "classes": classes, "notes": data.notes, "example": nests.noted(x)}
    facts |= {"examples": {name: len(part) for name in ("train", "valid", "test") if (part := getattr(data, name))}}
    facts |= {"rows": counts} if any(counts := rows(data)) else {}
    facts |= {"first": first} if first else {}
    facts |= {"report": list(data.report)} if data.report else {}
    return {**facts, "sha256": fingerprint(data)}


def params(value: Any, key: str = "") -> dict[str, str]:
    """Return every value of a configuration by its dotted key, as text. A list of plain values is one value.

    `params({"a": {"b": 1}, "c": [1, 2]})` is `{"a.b": "1", "c": "[1, 2]"}`.
    """
    if isinstance(value, dict) and value:
        return {
            k: v
            for name, inner in value.items()
            for k, v in params(inner, f"{key}.{letters(str(name))}".removeprefix(".")).items()
        }
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value) and not _is_numbers(value):
        return {k: v for i, inner in enumerate(value) for k, v in params(inner, f"{key}.{i}").items()}
    return {key: value if isinstance(value, str) else json.dumps(value)}


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numbers(v) for v in value)
    return isinstance(value, int | float)
