"""The commands and their arguments, read from their files without importing them."""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import runner


@dataclass
class Takes:
    """The words that a command takes: those without a key in their order, its own keys, and further ones."""

    words: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    overrides: bool = False
    store: bool = False  # tracking.uri


FOLDER = Path(runner.__file__).parent / "commands"


@cache
def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def meaning(name: str) -> str:
    """Return what a command does, from the first line of its file: behind "The command `runs`: "."""
    with (FOLDER / f"{name}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"').partition(": ")[2].rstrip(".")


def takes(name: str) -> Takes:
    """Return what a command takes, of all of its functions together."""
    result = Takes()
    for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef) or node.name not in ("with_settings", "with_run", "with_words"):
            continue
        positional = [one.arg for one in [*node.args.posonlyargs, *node.args.args]]
        result.keys += [one.arg for one in node.args.kwonlyargs if one.arg not in result.keys]
        if node.name == "with_settings":
            result.overrides = True
        else:
            result.words = [one for one in positional if one not in ("uri", "change")]
            result.store = "uri" in positional
            result.overrides = result.overrides or "change" in positional
    return result
