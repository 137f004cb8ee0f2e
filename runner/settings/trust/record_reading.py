"""Values out of a tracking store or a spool: within limits and of the right types, whoever has written them.

A record is trusted as little as a file: it may come from another version, from a damaged disk, or from a stranger. All
that reads one goes through here, or through `recorded_settings` for its configuration. A wrong value is a ConfigError
that names it, never a traceback.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import limits, terminal
from runner.settings.values import typed

#: Bytes of a file of a record by its name; of others as many as a configuration may have. A table of 200,000 columns
#: has a data.json of 20 MB, and a sweep of 10,000 jobs has as many configurations in its manifest.
BYTES = {"data.json": 64_000_000, "manifest.json": 256_000_000, "code.json": 16_000_000, "environment.txt": 16_000_000}
#: Characters of a tag.
TAG = 1_000_000
#: What MLflow takes for an id; no path is one.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Whole numbers that fit into a column of a store.
_MOST = 2**63
_PLACE = re.compile(r"[^\x00-\x1f\x7f\\:]+")


def text(path: Path, name: str, run_id: str) -> str:
    """Return a record's file as text. name: of the artifact. Raises ConfigError if it is too large or not UTF-8."""
    try:
        return content(path, name, run_id).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(f"{name} of run {run_id}", f"is not UTF-8 ({error.reason} at byte {error.start})") from None


def content(path: Path, name: str, run_id: str, most: int = 0) -> bytes:
    """Return the bytes of a record's file. most: the number allowed; 0: that of BYTES for `name`."""
    most, shown = most or BYTES.get(name, limits.BYTES), f"{name} of run {run_id}"
    if not path.is_file():
        raise _wrong(shown, "is no file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise _wrong(shown, f"has more than {most:,} bytes")
    return data


def decoded(text: str, hint: Any, name: str) -> Any:
    """Return JSON of the type `hint`, as `typed.check` reads it. Raises ConfigError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "its numbers or brackets have no end"
        raise _wrong(name, f"is not JSON: {why}") from None
    _check_depth(value, name, limits.DEPTH)
    checked(value, hint, name)
    return value


def checked(value: Any, hint: Any, name: str) -> None:
    """Raise ConfigError unless `value` has the type `hint`."""
    try:
        typed.check(value, hint, "")
    except ConfigError as error:
        raise _wrong(name, str(error).replace("\n", "; ")) from None


def tag(tags: Mapping[str, str], key: str, hint: Any, default: Any) -> Any:
    """Return the JSON in a tag; `default` where there is none."""
    written = tags.get(key)
    if written is None:
        return default
    if len(written) > TAG:
        raise _wrong(f"the tag {key}", f"has more than {TAG:,} characters")
    return decoded(written, hint, f"the tag {key}")


def whole(value: str, name: str, least: int = 0, most: int = _MOST) -> int:
    """Return the whole number in a tag. Raises ConfigError for anything else."""
    if re.fullmatch(r"[0-9]{1,19}", value) is None or not least <= int(value) < most:
        raise _wrong(name, f"is {cut(value)!r}, expected a whole number of at least {least}")
    return int(value)


def number(value: Any, default: float) -> float:
    """Return the finite number in a tag or a column; `default` where there is none."""
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return parsed if math.isfinite(parsed) else default


def run_id(value: Any, name: str = "the id of a run") -> str:
    """Return the id of a run, which also names a folder of the spool. Raises ConfigError for anything else."""
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise _wrong(name, f"is {cut(str(value))!r}, expected letters and digits")
    return value


def place(value: Any, name: str) -> str:
    """Return the path of an artifact below its run. Raises ConfigError for one that leads elsewhere."""
    path = PurePosixPath(value) if isinstance(value, str) and _PLACE.fullmatch(value) else None
    if path is None or path.is_absolute() or ".." in path.parts or str(path) != value or value == ".":
        raise _wrong(name, f"is {cut(str(value))!r}, expected a path within the run's artifacts")
    return str(value)


def sha256(value: Any, name: str) -> str:
    """Return a SHA-256 in hexadecimal digits. Raises ConfigError for anything else."""
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise _wrong(name, f"is {cut(str(value))!r}, expected the 64 digits of a SHA-256")
    return value


def checkpoints(tags: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    """Return the checkpoints `last` or `best` of a run's tags, the newest first: place, step and sha256 of each."""
    key = f"checkpoint.{name}.kept"
    entries: list[dict[str, Any]] = tag(tags, key, list[dict[str, Any]], [])
    for entry in entries:
        if set(entry) != {"place", "step", "sha256"}:
            raise _wrong(f"the tag {key}", f"has {', '.join(entry) or 'nothing'}, expected place, step and sha256")
        _check_checkpoint(entry, f"the tag {key}")
    return entries


def noted(text: str, run_id: str) -> dict[str, Any]:
    """Read data.json: `task`, `classes`, `notes`, and `example`, an input's shape and type; `rows` of some."""
    name = f"data.json of run {run_id}"
    notes: dict[str, Any] = decoded(text, dict[str, Any], name)
    kinds = {
        "task": str | dict[str, str],
        "classes": list[Any] | dict[str, list[Any]],
        "notes": dict[str, Any],
        "example": dict[str, Any],
    }
    for key, hint in kinds.items():
        if key not in notes:
            raise _wrong(name, f"has no {key}")
        checked(notes[key], hint, f"{key} in {name}")
    checked(notes.get("sha256"), dict[str, str] | None, f"sha256 in {name}")
    checked(notes.get("examples"), dict[str, int] | None, f"examples in {name}")
    checked(notes.get("rows"), list[int] | None, f"rows in {name}")
    checked(notes.get("report"), list[str] | None, f"report in {name}")
    _check_example(notes["example"], name)
    _check_notes(notes["notes"], name)
    return notes


def line(value: Any) -> str:
    """Return a word of a record as it may be shown: without what would break a line or steer a terminal."""
    return terminal.line(str(value or ""))


def cut(text: str, most: int = 60) -> str:
    """Return the beginning of a text that somebody else has written."""
    return text if len(text) <= most else f"{text[:most]}..."


def _check_checkpoint(entry: dict[str, Any], name: str) -> None:
    path = place(entry["place"], f"a place in {name}")
    if not path.startswith("checkpoints/"):
        raise _wrong(name, f"has the place {cut(path)!r}, expected one in checkpoints/")
    checked(entry["step"], int, f"a step in {name}")
    checked(entry["sha256"], dict[str, str], f"a sha256 in {name}")


#: The notes that a reader calculates with, and their types.
_NOTES: dict[str, Any] = {
    "features": list[Any],
    "columns": list[Any],
    "targets": list[Any] | None,
    "kinds": dict[str, Any],
    "categories": dict[str, Any],
    "size": list[int],
    "channels": int,
    "vocabulary": list[str],
    "tokens": str,
    "lower": bool,
    "length": int,
    "window": int,
    "horizon": int,
    "time": str | None,
    "predicts": list[str],
    "missing": dict[str, Any],
    "files": dict[str, Any],
    "words": list[Any],
    "categorical": list[str],
    "goals": dict[str, Any],
    "scaled": dict[str, list[Any]],
}


def _check_notes(notes: dict[str, Any], name: str) -> None:
    for key, hint in _NOTES.items():
        if key in notes:
            checked(notes[key], hint, f"notes.{key} in {name}")
    for key in ("mean", "std"):
        if key in notes:
            _check_numbers(notes[key], f"notes.{key} in {name}")
    for key, values in notes.get("scaled", {}).items():
        _check_numbers(values, f"notes.scaled.{key} in {name}")
    if "size" in notes and (len(notes["size"]) != 2 or not all(0 < n <= 100_000 for n in notes["size"])):
        raise _wrong(f"notes.size in {name}", f"is {notes['size'][:4]}, expected a height and a width")


def _check_numbers(value: Any, name: str) -> None:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list):
            _check_numbers(one, name)
        elif isinstance(one, bool) or not isinstance(one, int | float):
            raise _wrong(name, f"holds {cut(str(one))!r}, expected numbers")


def _check_example(example: dict[str, Any], name: str) -> None:
    if len(example) == 1 and isinstance(parts := next(iter(example.values())), dict) and parts:  # several tensors
        for key, part in parts.items():
            checked(part, dict[str, Any], f"example.{key} in {name}")
            _check_example(part, name)
        return
    shape, dtype = example.get("shape"), example.get("dtype")
    checked(shape, list[int], f"example.shape in {name}")
    assert isinstance(shape, list)
    if any(size < 0 for size in shape) or math.prod(shape) > 2**40 or len(shape) > limits.DEPTH:
        raise _wrong(f"example.shape in {name}", f"is {cut(str(shape))}, expected sizes that a memory holds")
    if not isinstance(dtype, str) or re.fullmatch(r"(float|bfloat|int|uint|complex)[0-9]+|bool", dtype) is None:
        raise _wrong(f"example.dtype in {name}", f"is {cut(str(dtype))!r}, expected a type such as float32")


def _check_depth(value: Any, name: str, depth: int) -> None:
    if not depth:
        raise _wrong(name, f"has more than {limits.DEPTH} lists and mappings inside of each other")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, dict | list):
            _check_depth(inner, name, depth - 1)


def _wrong(name: str, what: str) -> ConfigError:
    return ConfigError("", f"{name} {what}; the record is damaged, of another version, or not runner's")
