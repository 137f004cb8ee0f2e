"""Every command and Python block of the README and of the pages does what it says: it is run here."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import runner

ROOT = Path(__file__).parents[2]
#: Pages whose commands are run, with those that are run before: a page begins where another one ends.
PAGES: dict[str, list[str]] = {
    "README.md": [],
    "docs/start.md": [],
    "docs/programs.md": [],
    "docs/a_run.md": ["experiments=pairs trainer.epochs=2 plots=[]"],
    "docs/resume_and_servers.md": [],
    "docs/your_own.md": [],
    "docs/between_runs.md": [
        "-m experiments=linear_regression seed=1,2 trainer.epochs=2 plots=[] sweep.plots=false",
        "experiments=linear_regression trainer.epochs=2 plots=[]",
        "experiments=linear_regression trainer.epochs=2 plots=[] seed=3",
    ],
}
#: Ids in the page on what lies between runs: of the commands that are run before it.
IDS = ("SWEEP", "3f9a1b2c", "77ac01d2")
#: Commands that are not run here, by their beginning, and why.
LEFT_OUT = {
    "runner ui": "serves until it is ended; tests/commands/test_ui.py",
    "runner mcp": "serves until it is ended; tests/commands/test_mcp.py",
    "runner sync tracking.uri": "needs a second server; tests/tracking/test_sync.py",
    "runner sync forget": "needs a record that a store refuses; tests/tracking",
    "python3 -m venv": "the first is the README's, tried from a clean clone; the second is the CI",
    "pip install": "installs",
    "eval": "tests/cli/test_completion.py",
    "runner predict last inputs=new.csv": "of another run; tests/commands/test_predict.py",
    "runner predict last inputs=photos": "of another run; tests/commands/test_predict.py",
    "runner evaluate last split=train data.path": "of a run of a table; tests/commands/test_evaluate.py",
    "runner evaluate last    ": "of a run with test data",
    "runner explain last keep=true": "of a run whose layers are worked; tests/commands/test_explain.py",
}
#: Words that make the trainings of pages short.
SHORT = {"experiments=digits_cnn": ["trainer.epochs=1", "plots=[]"]}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def commands(page: str) -> list[str]:
    """The commands of a page, each in one line."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def why_not(line: str) -> str:
    return next((why for start, why in LEFT_OUT.items() if line.startswith(start)), "")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page: str, workplace: Path) -> None:
    furnish(workplace)
    ids = {name: runner(*words.split(), cwd=workplace).run_id for name, words in zip(IDS, PAGES[page], strict=False)}
    assert commands(page)
    for line in commands(page):
        if why_not(line):
            continue
        typed = [ids.get(word, word) for word in shlex.split(line, comments=True)]
        typed, into = (typed[:-2], typed[-1]) if ">" in typed else (typed, "")
        assert typed[0] == "runner", f"{page}: {line}"
        extra = [word for key, short in SHORT.items() if key in typed[1:] for word in short]
        extra = [word for word in extra if not any(t.startswith(word.partition("=")[0]) for t in typed)]
        trains = not {"check", "summary", "explain", "runs", "schema"} & set(typed)
        done = runner(*typed[1:], *(extra if trains else []), cwd=workplace, code=None)
        assert done.code == 0, f"{page}: {line}\n{done.err[-2000:]}"
        if into:
            (workplace / into).write_text(done.out)


def furnish(place: Path) -> None:
    """The files that pages speak of."""
    own = place / "experiments"
    own.mkdir()
    for page in ("docs/your_own.md",):
        for block in blocks(page, "yaml"):
            if name := re.match(r"# (experiments/\w+\.yaml)\n", block):
                (place / name[1]).write_text(block)
    (own / "pairs.yaml").write_text("defaults:\n  - override /data: digits\n  - override /model: digits_cnn\n"
                                    "  - override /loss: cross_entropy\n")  # fmt: skip
    np.save(place / "x.npy", np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32))


@pytest.mark.parametrize("page", ["README.md", "docs/from_python.md", "docs/a_run.md"])
def test_the_python_blocks_of_a_page_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    if page == "docs/a_run.md":
        furnish(workplace)
        runner("experiments=pairs", "trainer.epochs=1", "plots=[]", cwd=workplace)
    names: dict[str, Any] = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, page, "exec"), names)


def test_the_notebook_runs(workplace: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "docs" / "first_notebook.ipynb", 4)
    place = {"metadata": {"path": str(workplace)}}
    nbclient.NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=place).execute()
    kinds = [list(output.get("data", {})) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in kind for kind in kinds) == 3
    assert "<progress" in str(notebook.cells[1].outputs)


LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_to_files(page: str) -> None:
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_a_command_that_fails_is_noticed(workplace: Path) -> None:
    assert runner("experiments=nothing", cwd=workplace, code=None).code == 2
    assert why_not("runner ui last")
    assert not why_not("runner show last")
