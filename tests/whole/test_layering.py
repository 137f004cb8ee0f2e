"""Rooms: imports go one way, and heavy ones are made where they are used."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The folders of `runner/`, from the roof to the ground. Each imports from those below; model and data are neighbours.
ROOMS = ["api", "cli", "commands", "sweeps", "tracking", "training", "plots", "model data", "settings"]
FLOOR = {room: number for number, rooms in enumerate(ROOMS) for room in rooms.split()}
#: Libraries, and the rooms that may know them.
KNOWS = {
    "hydra": ["cli", "settings"],
    "omegaconf": ["cli", "settings"],
    "mlflow": ["tracking"],
    "optuna": ["sweeps"],
    "matplotlib": ["plots", "sweeps", "model"],
    "rich": ["tracking", "sweeps", "commands", "model"],
    "pandas": ["api", "data"],
}
#: What composing a configuration loads, and what must not come along with it.
LIGHT = [
    *("cli", "settings/__init__", "settings/values", "settings/trust", "settings/files", "settings/context"),
    *(
        "commands/__init__",
        "commands/_words",
        "commands/_outputs",
        "sweeps/manifest",
        "sweeps/run/job",
        "sweeps/search",
    ),
    *("commands/best", "sweeps/report/recorded_table", "sweeps/report/comparison", "sweeps/report/table"),
]
HEAVY = {"torch", "mlflow", "matplotlib", "sklearn", "torchmetrics", "rich", "pandas", "numpy"}
FILES = sorted((ROOT / "runner").rglob("*.py"))


def imports(path: Path, everywhere: bool = True, types: bool = True) -> Iterator[str]:
    """Dotted names that a file imports.

    everywhere: in functions too. types: those for type checkers too.
    """
    tree = ast.parse(path.read_text())
    checkers = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    left_out = set() if types else {child for node in checkers for child in ast.walk(node)}
    for node in ast.walk(tree) if everywhere else tree.body:
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(room: str, path: Path) -> list[str]:
    names = [name.split(".") for name in imports(path)]
    theirs = {name[1] for name in names if name[0] == "runner" and len(name) > 1 and name[1] in FLOOR} - {room}
    libraries = {name.split(".")[0] for name in imports(path, types=False)}
    upwards = [f"{path.name} imports {other}" for other in theirs if FLOOR[other] <= FLOOR[room]]
    return upwards + [f"{path.name} knows {name}" for name in libraries if room not in KNOWS.get(name, [room])]


def room(path: Path) -> str:
    return path.relative_to(ROOT / "runner").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "runner")))
def test_imports_go_downwards(path: Path) -> None:
    if path.name not in ("__init__.py", "__main__.py") or path.parent != ROOT / "runner":
        assert room(path) in FLOOR, "every module is in a room"
        assert violations(room(path), path) == []


def test_rooms_are_all_there_is() -> None:
    found = {path.name for path in (ROOT / "runner").iterdir() if path.name != "__pycache__"}
    assert found == {*FLOOR, "__init__.py", "__main__.py", "py.typed"}


def test_an_import_from_above_would_be_found(tmp_path: Path) -> None:
    text = "def f():\n    from runner.tracking.write import tracker\nimport mlflow\nfrom runner import data\n"
    (tmp_path / "bad.py").write_text(text)
    assert len(violations("model", tmp_path / "bad.py")) == 3


def test_no_two_modules_import_each_other() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    edges = {name: names.keys() & set(imports(path)) - {name} for name, path in names.items()}
    # A folder's own file is loaded before what is in the folder.
    left = {name: {o for o in others if not name.startswith(f"{o}.")} for name, others in edges.items() if "." in name}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_command_line_loads_first_is_light(name: str) -> None:
    place = ROOT / "runner" / name
    files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    for path in files:
        assert HEAVY.isdisjoint(imported.split(".")[0] for imported in imports(path, everywhere=False)), path.name


def test_of_a_sweep_only_its_report_knows_matplotlib_and_rich() -> None:
    for path in FILES:
        inner = path.relative_to(ROOT / "runner").parts
        if inner[0] == "sweeps" and inner[:2] != ("sweeps", "report"):
            assert {"matplotlib", "rich"}.isdisjoint(name.split(".")[0] for name in imports(path, types=False)), (
                path.name
            )
