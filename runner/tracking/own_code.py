"""The files of a person's own that this process has imported, with their digests: a run keeps them."""

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
#: Environment variable that says which files are others than a resumed run's, where the person goes on with them.
DRIFT = "RUNNER_CODE_DRIFT"
#: Bytes of a file that is kept; of a larger one the digest alone.
MOST = 1 << 20
#: Packages whose version says what they are.
OURS = ("runner", "hydra_plugins")


@dataclass(frozen=True)
class File:
    """A module's file as it was when the module was first seen here: what is imported by then does not change."""

    place: str  # experiments/mine.py; of another module of the working directory its path there
    module: str
    sha256: str
    content: bytes | None  # None: not kept


_seen: dict[str, tuple[ModuleType, File | None]] = {}
_newest: list[Any] = []  # what tells whether anything was imported since `files` last looked, and what it found


def files() -> dict[str, File]:
    """Module name -> its file, of `experiments`, of the working directory, and of packages that the person trusts."""
    last = next(reversed(sys.modules))  # thousands are gone through for the first job of a sweep alone
    mark = [len(sys.modules), last, sys.modules[last], os.environ.get("RUNNER_TRUST")]
    if _newest[:-1] == mark:
        return dict(_newest[-1])
    here, trust = f"{Path.cwd()}{os.sep}", trusted()
    found = {}
    for name, module in list(sys.modules.items()):
        known = _seen.get(name)
        if known is None or known[0] is not module:
            known = _seen[name] = (module, _file(name, module, here, trust))
        if known[1] is not None:
            found[name] = known[1]
    _newest[:] = [*mark, found]
    return dict(found)


def digest(module: str) -> str | None:
    """The SHA-256 of the file that `module` was imported from, if it was imported here."""
    known = _seen.get(module)
    return known[1].sha256 if known and known[1] and sys.modules.get(module) is known[0] else None


def record() -> tuple[dict[str, str], dict[str, bytes]]:
    """(tags, artifacts) by which a run keeps the files; both are empty where there are none."""
    found = sorted(files().values(), key=lambda file: file.place)
    if not found:
        return {}, {}
    first = {file.module.partition(".")[0] for file in found}
    listed = {
        "files": {f.place: {"module": f.module, "sha256": f.sha256, "kept": f.content is not None} for f in found},
        "packages": {name: _version(name) for name in sorted(first & set(trusted()))},
    }
    text = (json.dumps(listed, indent=1) + "\n").encode()
    kept = {f"{FOLDER}/{file.place}": file.content for file in found if file.content is not None}
    return {TAG: hashlib.sha256(text).hexdigest()}, {NAME: text, **kept}


def drifted(step: int) -> tuple[dict[str, str], dict[str, bytes]]:
    """The same for a run that goes on after `step` with other files than its own; empty if it has its own."""
    names = os.environ.get(DRIFT)
    if not names:
        return {}, {}
    tags, artifacts = record()
    return {**tags, "drift.code": f"{names} after step {step}", "runner.digest": ""}, artifacts


def _file(name: str, module: ModuleType, here: str, trust: list[str]) -> File | None:
    path = module.__dict__.get("__file__") if isinstance(module, ModuleType) else None
    first = name.partition(".")[0]
    if not isinstance(path, str) or first in OURS or first.startswith("__"):
        return None
    named = first == "experiments" or first in trust
    if not named and not (path.startswith(here) and _is_own(path)):
        return None
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    suffix = "/__init__.py" if hasattr(module, "__path__") else Path(path).suffix
    place = name.replace(".", "/") + suffix if named else Path(path).relative_to(here).as_posix()
    keeps = first not in trust and path.endswith(".py") and len(content) <= MOST
    return File(place, name, hashlib.sha256(content).hexdigest(), content if keeps else None)


def _is_own(path: str) -> bool:
    """Whether a file of the working directory is neither an installed package's nor Python's."""
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return not installed and not path.startswith(sysconfig.get_path("stdlib"))


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
