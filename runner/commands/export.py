"""The command `export`: a recorded run's model as a file for other programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands import _outputs, _words
from runner.commands._result import Result
from runner.settings.errors import batch_shape, full_message, labelled
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from runner.tracking.read.export import Format, Source


def with_run(
    uri: str,
    run: str,
    *,
    format: str,
    output: str,
    checkpoint: str = "best",
    raw: str = "true",
    overwrite: str = "false",
    code: str = "current",
) -> Result | int:
    """Write the model to `output`, read it back and compare it with torch; only then is the file renamed to `output`.

    raw: true for a model that takes inputs as they were before the data source standardized them; see `runner.load`.
    overwrite: true replaces an existing file.
    code: current or recorded, for the user's own layers.
    """
    from runner.tracking.read import export
    from runner.training.state.checkpoint import CheckpointError

    kind = export.find(format)
    over, standardizes = _words.truth("overwrite", overwrite), _words.truth("raw", raw) and kind.RAW
    place = _outputs.place(output, kind.SUFFIX, over)
    beside = None if kind.RAW else _outputs.place(str(place.with_suffix(".yaml")), ".yaml", over)
    try:
        source, lines = _source(uri, run, checkpoint, standardizes, code)
        checked = _write(kind, source, place, beside)
    except (CheckpointError, export.ExportError) as error:
        terminal.say(full_message(error))
        return 1
    first = f"{place}: the {checkpoint} model of run {source.about['run']}, {checked}"
    plain: dict[str, Any] = {"run": source.about["run"], "checkpoint": checkpoint, "format": format}
    plain |= {"output": str(place)}
    plain |= {"configuration": str(beside) if beside else None, "checked": checked}
    return Result(plain, lambda: terminal.put(first, *lines, *([f"{beside}: its configuration"] if beside else [])))


def _source(uri: str, run: str, checkpoint: str, raw: bool, code: str) -> tuple["Source", list[str]]:
    """Return the model with example inputs, and lines on its inputs and classes."""
    from runner.data import nests
    from runner.tracking.read import export, load, recall

    run_id = recall.find_run(uri, run)
    model = load.load(run_id, uri, checkpoint, raw, code=code)
    data = recall.data(uri, run_id)
    notes = data["notes"] if isinstance(next(model.children(), None), load.Standardize) else None
    about = {"run": run_id, "checkpoint": checkpoint, "data": json.dumps(data)}
    x = export.inputs(model, load.example(data, "meta"), notes)
    scaled = "" if "mean" not in data["notes"] else ", standardized" if notes is None else ", not standardized"
    lines = [
        f"inputs: {name and f'{name}, '}{str(one.dtype).removeprefix('torch.')} of shape {batch_shape(one.shape[1:])}"
        f"{scaled}"
        for name, one in nests.named(x)
    ]
    lines += _outputs.classes(data)
    return export.Source(model, x, recall.text(uri, run_id, "config.yaml"), about), lines


def _write(kind: "Format", source: "Source", place: Path, config: Path | None) -> str:
    """Write and check the file, and return what was compared. Raises ExportError and leaves no file if either fails.

    config: where to put the configuration; it is complete before the model is.
    """
    with _outputs.whole(place) as beside:
        checked = _checked(kind, source, beside)
        if config is not None:
            with _outputs.whole(config) as path:
                path.write_text(source.config, encoding="utf-8")
    return checked


def _checked(kind: "Format", source: "Source", path: Path) -> str:
    from runner.tracking.read.export import ExportError
    from runner.tracking.read.logged_model import quiet

    try:
        with quiet():
            kind.write(source, path)
            return kind.check(source, path)
    except (OSError, ExportError):
        raise
    except Exception as error:
        raise ExportError(f"the model cannot be exported: {labelled(error)}") from error
