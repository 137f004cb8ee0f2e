"""A user's own modules that this process has imported, with their digests: a run's record has them."""

import hashlib
import importlib.metadata
import json
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from runner.settings.trust.permission import packages as trusted

#: The artifact that lists them, the folder that holds them, and the tag with the list's SHA-256.
NAME, FOLDER, TAG = "code.json", "code", "runner.code"
#: Environment variable with the files that differ from those of a resumed run, when the user goes on with them.
DRIFT = "RUNNER_CODE_DRIFT"
#: Bytes up to which a file is recorded; of a larger one only the digest is.
MOST = 1 << 20
#: Packages whose version identifies them.
OURS = ("runner", "hydra_plugins")


@dataclass(frozen=True)
class File:
    """A module's file as it was when `files` first met the module: an imported module does not change any more."""

    place: str  # experiments/mine.py; of another module of the working directory its path there
    module: str
    sha256: str
    content: bytes | None  # None: only the digest is recorded


_seen: dict[str, tuple[ModuleType, File | None]] = {}
_newest: list[Any] = []  # the result of the last call of `files`, after a mark that is another one after an import


def files() -> dict[str, File]:
    """Return module name -> its file, for `experiments`, the working directory, and packages that the user trusts."""
    last = next(reversed(sys.modules))  # a sweep goes through the thousands of modules for its first job alone
    mark = [len(sys.modules), last, sys.modules[last], os.environ.get("RUNNER_TRUST")]
    if _newest[:-1] == mark:
        return dict(_newest[-1])
    folder, trust = f"{Path.cwd()}{os.sep}", trusted()
    own = {}
    for name, module in list(sys.modules.items()):
        entry = _seen.get(name)
        if entry is None or entry[0] is not module:
            entry = _seen[name] = (module, _file(name, module, folder, trust))
        if entry[1] is not None:
            own[name] = entry[1]
    _newest[:] = [*mark, own]
    return dict(own)


def digest(module: str) -> str | None:
    """Return the SHA-256 of the file that `module` was imported from; None if it is not imported here."""
    entry = _seen.get(module)
    return entry[1].sha256 if entry and entry[1] and sys.modules.get(module) is entry[0] else None


def record() -> tuple[dict[str, str], dict[str, bytes]]:
    """Return (tags, artifacts) with the files, for a run's record; both are empty if there are none."""
    own = sorted(files().values(), key=lambda file: file.place)
    if not own:
        return {}, {}
    packages = {file.module.partition(".")[0] for file in own}
    listed = {
        "files": {f.place: {"module": f.module, "sha256": f.sha256, "kept": f.content is not None} for f in own},
        "packages": {name: _version(name) for name in sorted(packages & set(trusted()))},
    }
    text = (json.dumps(listed, indent=1) + "\n").encode()
    contents = {f"{FOLDER}/{file.place}": file.content for file in own if file.content is not None}
    return {TAG: hashlib.sha256(text).hexdigest()}, {NAME: text, **contents}


def drifted(step: int) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return (tags, artifacts) for a run that goes on after `step` with other files than before; else empty ones."""
    names = os.environ.get(DRIFT)
    if not names:
        return {}, {}
    tags, artifacts = record()
    return {**tags, "drift.code": f"{names} after step {step}", "runner.digest": ""}, artifacts


def _file(name: str, module: ModuleType, folder: str, trust: list[str]) -> File | None:
    """Return the file of a module of a user's own; None for any other module."""
    path = module.__dict__.get("__file__") if isinstance(module, ModuleType) else None
    first = name.partition(".")[0]
    if not isinstance(path, str) or first in OURS or first.startswith("__"):
        return None
    is_named = first == "experiments" or first in trust
    if not is_named and not (path.startswith(folder) and _is_own(path)):
        return None
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    suffix = "/__init__.py" if hasattr(module, "__path__") else Path(path).suffix
    place = name.replace(".", "/") + suffix if is_named else Path(path).relative_to(folder).as_posix()
    is_recorded = first not in trust and path.endswith(".py") and len(content) <= MOST
    return File(place, name, hashlib.sha256(content).hexdigest(), content if is_recorded else None)


def _is_own(path: str) -> bool:
    """Return whether a file of the working directory is neither an installed package's nor Python's."""
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return not installed and not path.startswith(sysconfig.get_path("stdlib"))


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
