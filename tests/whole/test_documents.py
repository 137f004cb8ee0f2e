"""What documents and messages have people install is ours: `runner` on PyPI is somebody else's package."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A command that installs the distribution `runner`, or asks for extras of it.
STRANGERS = re.compile(
    r"""(?x)
    \b(?:pipx?|uv|conda|mamba|poetry|pdm|pixi|hatch)\b [^\n`]* \b(?:install|add|run)\b
      [^\n`]* [\x20\t'"] runner (?![-\w./])
    | (?<![-\w.]) runner \\? \[ [a-z,\s]+ \\? \]
    | ^ \s* runner \s* (?:==|>=|~=|@)
    """,
    re.MULTILINE,
)
EXTRA = re.compile(r"(?:runner-torch|-e '?\"?\.)\\?\[([a-z,]+)\\?\]")


def documents() -> list[Path]:
    """Every text file of the project but this one."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    endings = (".md", ".py", ".toml", ".yaml", ".yml", ".txt", ".cfg", ".ipynb")
    files = [ROOT / name for name in listed.splitlines() if name.endswith(endings) or name == ".ci/run"]
    return [path for path in files if path.is_file() and path != Path(__file__)]


def test_no_document_or_message_installs_the_strangers_package() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    wrong = [
        f"{path.relative_to(ROOT)}: {hit[0].strip()}"
        for path in documents()
        for hit in STRANGERS.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not wrong
    assert len(documents()) > 200  # that is, they were read


@pytest.mark.parametrize(
    "line",
    [
        "pip install runner",
        "pip install 'runner[optuna]'",
        "python -m pip install -U runner",
        'uv add "runner"',
        "pipx install runner",
        r"match=r'pip install \'runner\[onnx\]\''",
        "the extras `runner[joblib]`",
        "needs runner[bench]",
        "runner==0.1.0",
    ],
)
def test_a_planted_line_is_noticed(line: str) -> None:
    assert STRANGERS.search(f"first line\n{line}\n")


@pytest.mark.parametrize(
    "line",
    ["pip install 'runner-torch[optuna]'", "pip install -e '.[ray]'", "pip install -e . && .venv/bin/runner --help"],
)
def test_our_own_lines_are_not(line: str) -> None:
    assert not STRANGERS.search(line)


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "runner-torch"
    named = {
        extra
        for path in documents()
        for hit in EXTRA.finditer(path.read_text(encoding="utf-8"))
        for extra in hit[1].split(",")
    }
    assert named
    assert named <= set(project["optional-dependencies"])


def test_an_extra_by_our_name_comes_from_what_is_installed(tmp_path: Path) -> None:
    """An editable checkout satisfies it: no index is asked for a package of ours."""
    asked = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "runner-torch[onnx]"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    assert "already satisfied: runner-torch[onnx]" in done.stdout


#: Documents, and the folders in which a path that they name may lie.
MAPS = ("CONTRIBUTING.md", "docs/design.md", "docs/sweeps.md", "docs/security.md", "docs/decisions.md")
HOMES = (ROOT, ROOT / "runner", *(path for path in (ROOT / "runner").iterdir() if path.is_dir()))
PATH = re.compile(r"`([\w./-]+/[\w.-]*(?:\.py|/))`")
#: Of a person's project, and of a run.
THEIRS = (
    "experiments/mine",
    "conf/",
    "code/",
    "checkpoints/",
    "history/",
    "plots/",
    "mlruns/",
    ".runner/",
    "outputs/",
    "explain/",
)


def missing(text: str) -> list[str]:
    """Return the paths of our files in a document that are not there."""
    named = [path for path in PATH.findall(text) if not path.startswith(THEIRS) and "<" not in path]
    return [path for path in named if not any((home / path).exists() for home in HOMES)]


@pytest.mark.parametrize("name", MAPS)
def test_a_file_that_a_document_names_is_there(name: str) -> None:
    text = (ROOT / name).read_text()
    assert PATH.search(text)
    assert missing(text) == []


def test_a_file_that_is_not_there_is_noticed() -> None:
    assert missing("see `training/build.py` and `training/run.py`") == ["training/build.py"]
