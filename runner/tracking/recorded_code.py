"""The own code of a recorded run: compared with the files here, and used again if the user trusts it."""

import atexit
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.trust import record_reading, terminal
from runner.settings.values.lookup import use_folder
from runner.tracking import own_code
from runner.tracking.read import recall

CHOICES = ("current", "recorded")
#: One file of a run: its place, and `changed` or `missing`.
Difference = tuple[str, str]


def use(uri: str, run_id: str, code: str = "current") -> list[str]:
    """Make this process use a run's own code, as it is here or as it was recorded. Returns a line for each difference.

    code: "current"; or "recorded", which runs code out of the store, so that only a person may give it, not a file.
    Raises ConfigError for another word, and for recorded files that are damaged.
    """
    check(code)
    listed = files_of(uri, run_id)
    if code == "recorded":
        _install(_fetched(uri, run_id, listed))
        return [
            f"code: {place} is {how}, and the run has kept no more than its digest" for place, how in _apart(listed)
        ]
    remedy = "what is here is used; code=recorded uses what the run has kept"
    return [f"code: {place} is {how} since run {run_id[:8]} was trained; {remedy}" for place, how in _apart(listed)]


def report(uri: str, run_id: str, code: str = "current") -> None:
    """Make this process use a run's own code, as `use` does, and report the differences on standard error."""
    for line in use(uri, run_id, code):
        terminal.say(line)


def take(uri: str, run_id: str, code: str, name: str) -> None:
    """Make this process use the recorded code of a run that is trained anew, or its code as it is here.

    code: "" for a user who has not chosen. name: of what is trained anew, for messages.
    Raises ConfigError if a file differs then, and what `use` raises.
    """
    lines = use(uri, run_id, code or "current")
    if lines and not code:
        changed = "; ".join(line.partition(";")[0].removeprefix("code: ") for line in lines)
        raise ConfigError(
            "code",
            f"{changed}; give code=recorded, which runs what {name} has kept, or code=current, which runs what is here",
        )
    for line in lines:
        terminal.say(line)


@contextlib.contextmanager
def used(uri: str, run_id: str, code: str) -> Iterator[None]:
    """Use a run's own code within the block, as `report` does. The modules from before are back after it."""
    names = [entry["module"] for entry in files_of(uri, run_id).values()] if code == "recorded" else []
    before = {name: module for name, module in sys.modules.items() if _is_part(name, names)}
    finders, package = list(sys.meta_path), sys.modules.get("experiments")
    paths, folder = list(getattr(package, "__path__", [])), os.environ.get(places.CODE)
    try:
        report(uri, run_id, code)
        yield
        own_code.files()  # reads the files of the modules now: they may be others later
    finally:
        if code == "recorded":
            _restore(before, names, finders)
            if package is not None:
                package.__path__ = paths
            os.environ.pop(places.CODE, None)
            os.environ.update({places.CODE: folder} if folder else {})


def take_up(uri: str, run_ids: Iterable[str], code: str, name: str) -> None:
    """Make this process use the own code of runs that go on, as `use` does for one.

    code: "" for a user who has not chosen. name: of what goes on, `run <id>` or `sweep <id>`, for messages.
    Raises ConfigError if a file differs and `code` is "": the run could not go on as if it had never stopped.
    """
    if code:
        check(code)
    lists = {run_id: listed for run_id in run_ids if (listed := files_of(uri, run_id))}
    for run_id in list(lists)[: int(code == "recorded")]:  # those of runs with other files are refused below
        _install(_fetched(uri, run_id, lists[run_id]))
    apart = {place: how for listed in lists.values() for place, how in _apart(listed)}
    if not apart:
        return
    differences = "; ".join(f"{place} is {how}" for place, how in apart.items())
    if code != "current":
        raise ConfigError(
            "code",
            f"{differences} since {name} began, so that it could not go on as if it had never stopped; bring the file"
            " back, or give code=recorded, which runs what was recorded, or code=current, which goes on with what is"
            " here and notes that as drift.code",
        )
    terminal.say(f"code: {differences} since {name} began; it goes on with what is here")
    os.environ[own_code.DRIFT] = differences


def check(code: str) -> None:
    """Raise ConfigError for a word that is no choice."""
    if code not in CHOICES:
        raise ConfigError("code", f"{code!r} is not one of {', '.join(CHOICES)}")


def again() -> None:
    """Make another process of the same command use the recorded code that the first one uses."""
    folder = os.environ.get(places.CODE)
    if folder:
        _install(Path(folder))


def files_of(uri: str, run_id: str) -> dict[str, Any]:
    """Return place -> module, sha256, kept, of each file; {} for a run without own code."""
    sha256 = recall.facts(uri, run_id)[1].get(own_code.TAG)
    if not sha256:
        return {}
    content = recall.content(uri, run_id, own_code.NAME)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError("code", f"{own_code.NAME} of run {run_id} is damaged: its SHA-256 is not the recorded one")
    name = f"{own_code.NAME} of run {run_id}"
    listed = record_reading.decoded(content.decode("utf-8", "replace"), dict[str, Any], name).get("files")
    record_reading.checked(listed, dict[str, dict[str, Any]], f"files in {name}")
    assert isinstance(listed, dict)
    for place, entry in listed.items():
        record_reading.place(place, f"a file in {name}")
        record_reading.sha256(entry.get("sha256"), f"the sha256 of {place} in {name}")
        record_reading.checked(entry.get("kept"), bool, f"kept of {place} in {name}")
        module = entry.get("module")
        is_name = isinstance(module, str) and all(part.isidentifier() for part in module.split("."))
        if not is_name or str(module).startswith("__"):
            raise ConfigError("code", f"{name} has kept {place!r} as the module {record_reading.cut(str(module))!r}")
    return listed


def _apart(listed: dict[str, Any]) -> list[Difference]:
    """Return the files that are not here as they were recorded."""
    differences = []
    for place, entry in listed.items():
        sha256 = own_code.digest(entry["module"]) or _digest(_path(place, entry["module"]))
        if sha256 != entry["sha256"]:
            differences.append((place, "changed" if sha256 else "missing"))
    return differences


def _digest(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None


def _path(place: str, module: str) -> Path | None:
    """Return the file that would be imported now; None if there is none."""
    first, folders = module.partition(".")[0], [Path.cwd()]
    if first == "experiments":
        folders = [folder.parent for folder in places.experiments()]
        folders = [folder for folder in folders if (folder / place).is_file()]
    elif not (Path.cwd() / place).is_file():
        spec = importlib.util.find_spec(first)
        roots = list(spec.submodule_search_locations or []) if spec else []
        folders = [Path(root).parent for root in roots] or ([Path(spec.origin).parent] if spec and spec.origin else [])
    return folders[0] / place if folders else None


def _fetched(uri: str, run_id: str, listed: dict[str, Any]) -> Path:
    """Return a new folder with the recorded files of a run. Raises ConfigError if one has another digest."""
    folder = Path(tempfile.mkdtemp(prefix="runner-code-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "experiments").mkdir()
    modules = {}
    for place, entry in listed.items():
        if not entry["kept"]:
            continue
        path = PurePosixPath(place)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".py":
            raise ConfigError("code", f"run {run_id} has kept {place!r}, which is no file of a working directory")
        content = recall.content(uri, run_id, f"{own_code.FOLDER}/{place}", own_code.MOST)
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ConfigError("code", f"{place} of run {run_id} is damaged: its SHA-256 is not the recorded one")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        modules[entry["module"]] = place
    (folder / own_code.NAME).write_text(json.dumps(modules), encoding="utf-8")
    return folder


class _Finder:
    """A finder of modules in a folder of recorded files, which Python asks before all others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.modules = folder, json.loads((folder / own_code.NAME).read_text(encoding="utf-8"))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a recorded module; None for any other, which the next finder is asked for."""
        place = self.modules.get(name)
        if place is None:
            return None
        file = self.folder / place
        inside = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)


def _install(folder: Path) -> None:
    """Have the recorded files in `folder` imported from here on."""
    finder = _Finder(folder)
    os.environ[places.CODE] = str(folder)
    use_folder(folder / "experiments")
    for name in [name for name in sys.modules if name in finder.modules]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)


def _is_part(name: str, names: list[str]) -> bool:
    return name in names or (bool(names) and name.partition(".")[0] == "experiments")


def _restore(before: dict[str, ModuleType], names: list[str], finders: list[Any]) -> None:
    for name in [name for name in sys.modules if _is_part(name, names)]:
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:] = finders
