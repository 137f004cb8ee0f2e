"""The command `init`: a project of one's own, in a new folder."""

import json
import shlex
import shutil
from pathlib import Path

from runner.commands._result import Result
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.trust import terminal


def with_words(name: str) -> Result:
    """Make a project of your own in the new folder NAME: a study with its code and data, tests, and a README.

    It trains, and its tests pass, as it is.
    """
    folder = Path(name)
    _check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for source in sorted(path for path in places.template().rglob("*") if path.is_file() and path.suffix != ".pyc"):
        inside = source.relative_to(places.template())
        files.append(str(inside))
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / inside)
    readme = folder / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("PROJECT", folder.resolve().name, 1), encoding="utf-8")
    files.append("schema.json")
    (folder / "schema.json").write_text(_schema(), encoding="utf-8")
    here = folder.resolve() == Path.cwd().resolve()
    enter = [] if here else [f"cd {shlex.quote(name)}"]
    commands = [*enter, "runner check experiments=pendulum", "runner experiments=pendulum", "python -m pytest"]
    plain = {"folder": str(folder.resolve()), "files": sorted(files), "next": commands}
    return Result(plain, lambda: terminal.put(*_lines(name, commands)))


def _check(folder: Path) -> None:
    """Raise ConfigError for a folder in which something lies, and for what cannot be one."""
    shown = str(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(shown, "is a file; expected a NAME for a new folder, as in runner init my_project")
    if folder.is_dir() and (there := sorted(path.name for path in folder.iterdir())):
        some = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
        raise ConfigError(shown, f"is not empty ({some}), and nothing is overwritten; give the NAME of a new folder")


def _schema() -> str:
    """Return the JSON schema of the configuration, for editors."""
    from runner.training.checking.schema import schema

    return json.dumps(schema(), indent=1) + "\n"


def _lines(name: str, commands: list[str]) -> list[str]:
    """Return what was made, and what to do next."""
    return [
        f"{name}: conf/, data/, experiments/, tests/, README.md",
        "",
        "Next:",
        *(f"  {command}" for command in commands),
        "",
        "README.md there has five things to do; the code of your own goes into experiments/.",
    ]
