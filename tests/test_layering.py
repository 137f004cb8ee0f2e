"""Imports run downwards only, and heavy ones are made where they are used."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: From the roof to the ground; a module may import from its own floor and those below.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["helped"],
    ["searching"],
    ["task"],
    ["launching"],
    ["sweeps", "spaces", "advice"],
    ["trials"],
    ["gathered"],
    ["composed"],
    ["explained"],
    ["vocabulary"],
    ["guard", "hydra_rules", "composing", "overriding", "frozen"],
    ["used"],
    ["merging", "choices", "namesakes"],
    ["commands"],
    ["sweep"],
    ["session", "restoring"],
    ["identity"],
    ["logged_model"],
    ["ready", "exports"],
    ["recorded_code"],
    ["recall", "drift"],
    [
        *("tracking", "tracker", "settling", "leftover", "delivery", "reconcile"),
        *("stores", "bulk", "artifacts", "elsewhere", "served", "transfer", "connections", "spool_check"),
    ],
    ["prepare"],
    ["checks", "schema"],
    ["rehearsal"],
    ["vectorized"],
    ["run"],
    ["exact", "fingerprint", "on_host"],
    ["screen", "environment", "own_code", "reproduction"],
    ["fitting", "cost", "agreement", "targets"],
    ["forward", "build", "metrics", "best", "pieces"],
    ["losses", "scheduling"],
    ["stack", "checkpoint", "schedules", "parts", "_startup"],
    ["naming"],
    ["specs"],
    ["worked", "plots"],
    ["entries"],
    ["loop", "history", "finite"],
    ["events"],
    ["host", "again", "predicted"],
    ["kept"],
    ["data"],
    ["words", "keys", "limit", "outputs", "pruners", "record_reading", "recorded_settings"],
    ["randomness", "lookup", "ranges", "tags", "typed", "conventions"],
    ["resolvers", "expansion", "permission"],
    ["signatures", "origins", "signals", "spool", "journal", "ranks", "uris", "typed_words"],
    ["in_place"],
    ["layers", "settings", "context", "limits", "places", "push", "garbage", "errors", "memory"],
    ["durable", "liveness", "moved", "pipes", "cores", "filenames", "marks", "terminal", "secrets"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
#: Who may know a library at all.
KNOWS = {
    "hydra": {
        "cli",
        "task",
        "launching",
        "composing",
        "searching",
        "spaces",
        "trials",
        "composed",
        "explained",
        "gathered",
        "guard",
        "hydra_rules",
        "overriding",
        "typed_words",
        "used",
        "vocabulary",
        "advice",
        "hydra_plugins",
    },
    "omegaconf": {
        "cli",
        "task",
        "composing",
        "searching",
        "trials",
        "composed",
        "explained",
        "gathered",
        "guard",
        "hydra_rules",
        "sweeps",
        "frozen",
        "merging",
        "recorded_settings",
        "resolvers",
        "expansion",
        "used",
        "vocabulary",
        "advice",
        "hydra_plugins",
    },
    "mlflow": {
        *("tracking", "stores", "settling", "delivery", "reconcile", "bulk", "logged_model"),
        *("artifacts", "elsewhere", "served", "transfer", "connections"),
    },
    "matplotlib": {"plots", "sweep", "worked"},
    "rich": {"screen", "sweep", "commands", "worked"},
}
#: What must not be loaded by composing a configuration alone.
LIGHT = [
    "cli",
    "composed",
    "explained",
    "gathered",
    "guard",
    "hydra_rules",
    "permission",
    "sweep/cmaes",
    "task",
    "launching",
    "searching",
    "spaces",
    "trials",
    "sweep/search",
    "sweep/space",
    "frozen",
    "sweeps",
    "sweep/manifest",
    "sweep/job",
    "origins",
    "secrets",
    "terminal",
    "limits",
    "errors",
    "keys",
    "vocabulary",
    "advice",
    "merging",
    "choices",
    "overriding",
    "typed",
    "typed_words",
    "used",
    "commands/__init__",
    "settings",
    "lookup",
    "context",
    "places",
    "signals",
    "words",
    "helped",
    "pipes",
    "garbage",
    "outputs",
    "spool",
    "transfer",
    "connections",
    "filenames",
    "record_reading",
    "recorded_settings",
    "resolvers",
    "marks",
]


def imports(path: Path, everywhere: bool = True) -> Iterator[str]:
    """Dotted names that a file imports; those for type checkers only are left out."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else ast.iter_child_nodes(tree)
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in nodes:
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "runner":
                yield from (f"runner.{alias.name}" for alias in node.names)


def files() -> list[tuple[str, Path]]:
    ours = [(p.relative_to(ROOT / "runner").parts[0].removesuffix(".py"), p) for p in (ROOT / "runner").rglob("*.py")]
    return ours + [("hydra_plugins", p) for p in (ROOT / "hydra_plugins").rglob("*.py")]


def violations(owner: str, path: Path) -> list[str]:
    found = []
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "runner" and len(parts) > 1 and owner in FLOOR and parts[1] in FLOOR:
            if FLOOR[parts[1]] < FLOOR[owner]:
                found.append(f"{path.name} imports {name} from a floor above")
        elif parts[0] in KNOWS and owner not in KNOWS[parts[0]]:
            found.append(f"{path.name} knows {parts[0]}")
    return found


@pytest.mark.parametrize(("owner", "path"), files(), ids=lambda v: v.stem if isinstance(v, Path) else v)
def test_imports_run_downwards(owner: str, path: Path) -> None:
    assert owner in FLOOR or owner in ("__init__", "hydra_plugins"), f"{owner} has no floor yet"
    assert violations(owner, path) == []


SWEEP = sorted((ROOT / "runner" / "sweep").rglob("*.py"))


@pytest.mark.parametrize("path", SWEEP, ids=lambda path: path.stem)
def test_of_a_sweep_only_its_plots_know_matplotlib_and_only_its_screen_knows_rich(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)} & {"matplotlib", "rich"}
    at_once = {name.split(".")[0] for name in imports(path, everywhere=False)} & {"matplotlib"}
    known = {"matplotlib"} if path.parent.name == "plots" else {"rich"} if path.stem in ("screen", "summary") else set()
    assert libraries <= known
    assert at_once == set()


def test_an_import_from_above_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from runner import tracking\nimport mlflow\n")
    assert len(violations("loop", tmp_path / "bad.py")) == 2


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_command_line_loads_first_is_light(name: str) -> None:
    heavy = {"torch", "mlflow", "matplotlib", "sklearn", "torchmetrics", "rich", "pandas", "numpy"}
    top = {imported.split(".")[0] for imported in imports(ROOT / "runner" / f"{name}.py", everywhere=False)}
    assert top.isdisjoint(heavy)
