"""Digests of jobs: two jobs with the same digest train to the same weights."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import runner
from runner.settings.files import filenames

#: Parts of a configuration that do not change the trained weights.
IDLE = ("tracking", "sweep", "plots", "checkpoint")
#: Largest data file, in bytes, whose content is hashed; of a larger one, size and modification time are.
MOST = 50_000_000


def digest(config: dict[str, Any], folders: list[Path]) -> str:
    """Return the SHA-256 of the configuration, of the files it reads, and of the user's modules that it names.

    config: a job's resolved configuration.
    folders: where `experiments` modules are.
    """
    relevant = {key: value for key, value in config.items() if key not in IDLE}
    sha = hashlib.sha256(json.dumps([runner.__version__, relevant], sort_keys=True, default=str).encode())
    for path in sorted({*_files(relevant.get("data")), *_modules(relevant, folders)}):
        sha.update(f"{path.name} {_content(path)};".encode())
    return sha.hexdigest()


def _files(value: Any) -> set[Path]:
    """Return the files and folders named by the texts in `value`; most texts, such as a query, name none.

    A parent of the working directory (`/`, `..`) is not data, and reading all of it would not end.
    """
    folder = Path.cwd().resolve()
    paths = [filenames.path(text) for text in _texts(value)]
    return {path for path in paths if filenames.exists(path) and path.resolve() not in (folder, *folder.parents)}


def _modules(value: Any, folders: list[Path]) -> set[Path]:
    names = {text.split(".")[1] for text in _texts(value) if text.startswith("experiments.")}
    return {path for name in names for folder in folders if filenames.is_file(path := folder / f"{name}.py")}


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in [str(key), *_texts(inner)]]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) and value else []


def _content(path: Path) -> str:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return hashlib.sha256(" ".join(f"{p} {_stamp(p)}" for p in inside).encode()).hexdigest()
    if path.is_file() and path.stat().st_size <= MOST:  # a device or a pipe may have no end
        with contextlib.suppress(PermissionError):
            return _hashed(path, f"{path.stat().st_ino} {_stamp(path)}")
    return _stamp(path)


@functools.lru_cache(maxsize=256)
def _hashed(path: Path, stamp: str) -> str:
    """Return the SHA-256 of a file; most jobs of a sweep read the same. stamp: what changes with the content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stamp(path: Path) -> str:
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}"
