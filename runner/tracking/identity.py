"""What a run is: its name, and the tags, params and files that say what it was made with."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from runner.settings import Tracking
from runner.settings.context import LONGEST, Context
from runner.settings.files import filenames
from runner.settings.trust import secrets

if TYPE_CHECKING:
    from runner.data import Data
    from runner.training.run import Run

#: Tag of a run whose model was trained as one program with others: how many they were in all.
TOGETHER = "sweep.together"


def name(context: Context, told: Tracking) -> str:
    """The run's name, as long as a store takes. Jobs of one sweep must not have the same."""
    both = told.run_name and context.job
    chosen = f"{told.run_name}: {context.title}" if both else told.run_name or context.title
    return filenames.bounded(chosen, LONGEST)


def of_run(
    run: "Run", context: Context, run_id: str = "", drift: dict[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """Tags, params and files that say what this run is; of one that goes on, what it is continued with."""
    return _identity(run, context) if not run_id or not run.state.step else _again(run, context, drift or {})


def _identity(run: "Run", context: Context) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """Tags, params and files that say what this run is."""
    from runner.tracking import environment, own_code

    code, kept = own_code.record()
    tags = {**environment.tags(context.overrides, run.device), **secrets.without(run.settings.tracking.tags)}
    tags |= context.tags | code
    files: dict[str, str | bytes] = {
        **kept,
        "config.yaml": context.yaml,
        "environment.txt": environment.text(context.overrides, run.device),
        "data.json": json.dumps(noted(run.data), indent=2, default=str) + "\n",
    }
    return tags, params(secrets.without(dataclasses.asdict(run.settings))), files


def _again(
    run: "Run", context: Context, drift: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """Tags, params and files that are added to a run that goes on; those that it was made with stay."""
    from runner.tracking import environment, own_code

    step = run.state.step
    code, kept = own_code.drifted(step)
    tags = {**drift, **code, "runner.resumed": f"after step {step}"}
    files: dict[str, str | bytes] = {**kept, f"environment-{step}.txt": environment.text(context.overrides, run.device)}
    return tags, {}, {**files, "config.yaml": context.yaml} if drift else files


def noted(data: "Data") -> dict[str, Any]:
    """Facts of the training data that a later user of the model needs."""
    from runner.training.state.fingerprint import fingerprint

    x = data.train[0][0]
    example = {"shape": list(x.shape), "dtype": "float32" if x.is_floating_point() else str(x.dtype).split(".")[1]}
    told = {"task": data.task, "classes": list(data.classes), "notes": data.notes, "example": example}
    told |= {"report": list(data.report)} if data.report else {}
    return {**told, "sha256": fingerprint(data)}


def params(value: Any, key: str = "") -> dict[str, str]:
    """Every leaf of the configuration by its dotted key; a list of plain values is one leaf."""
    if isinstance(value, dict) and value:
        return {
            k: v
            for name, inner in value.items()
            for k, v in params(inner, f"{key}.{name}" if key else str(name)).items()
        }
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value) and not _is_numbers(value):
        return {k: v for i, inner in enumerate(value) for k, v in params(inner, f"{key}.{i}").items()}
    return {key: value if isinstance(value, str) else json.dumps(value)}


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numbers(v) for v in value)
    return isinstance(value, int | float)
