"""The page that `runner` alone prints: what it is, what to do first, and the experiments that there are."""

import textwrap
from pathlib import Path

from runner.cli.completion import configuration
from runner.commands._result import Result
from runner.settings.files import places
from runner.settings.trust import terminal

#: What one types first, and what it does.
FIRST = {
    "runner init my_project": "a project of your own in a folder: a study, its code and data, tests",
    "runner check experiments=NAME": "all checks of an experiment, its layers and its cost; trains nothing",
    "runner experiments=NAME": "train it; any key can be changed: optimizer.lr=0.01 seed=3",
    "runner -m experiments=NAME seed=1,2": "train it for each of these values, and compare",
    "runner runs": "a table of the runs; `runner ui` shows them in a browser",
    "runner train": "train the defaults, a line through noisy points",
    "runner --help": "all commands, presets and keys; `runner COMMAND --help` for one",
}


def page() -> Result:
    """Return the page, with the experiments of the working directory and those of the package."""
    here = Path.cwd() / "experiments"
    own = {path.stem: configuration.question(path) for path in sorted(here.glob("*.yaml"))}
    shipped = [name for name in places.studies() if name not in own and not (here / name).is_dir()]
    return Result({"commands": FIRST, "experiments": {"here": own, "shipped": shipped}}, lambda: _put(own, shipped))


def _put(own: dict[str, str], shipped: list[str]) -> None:
    width = max(map(len, FIRST))
    lines = ["runner trains what YAML describes - data, layers, loss, optimizer - and records it in MLflow.", ""]
    lines += [f"  {command:<{width}}  {meaning}" for command, meaning in FIRST.items()]
    if own:
        wide = max(map(len, own))
        lines += ["", "Experiments here:", *(f"  {name:<{wide}}  {asked}".rstrip() for name, asked in own.items())]
    if shipped:
        wrapped = textwrap.wrap(", ".join(shipped), 98, initial_indent="  ", subsequent_indent="  ")
        lines += ["", "Experiments that come with runner:", *wrapped]
    terminal.put(*lines)
