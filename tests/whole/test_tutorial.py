"""docs/tutorial.md is true: its commands print what it quotes, and its pictures are current."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from tests.support import command  # noqa: F401  whose server commands are forked from

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def tutorial() -> Iterator[ModuleType]:
    """docs/make_tutorial.py. Its commands are forked from the process that other tests' commands are forked from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("make_tutorial")


def check(tutorial: ModuleType, patch: pytest.MonkeyPatch, *files: Path) -> int:
    """The exit code of `python docs/make_tutorial.py --check FILE`."""
    patch.setattr(sys, "argv", ["make_tutorial.py", "--check", *map(str, files)])
    return int(tutorial.main())


def test_the_tutorial_is_true(
    tutorial: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = check(tutorial, monkeypatch)
    assert (code, capsys.readouterr().out) == (0, "the tutorial is true\n")


SAME = [
    (["run 0123456789abcdef0123456789abcdef loss=0.5"], ["run f123456789abcdef0123456789abcdef loss=0.5"]),
    (["torch: 1, 2.2e-8 apart"], ["torch: 1, 0 apart"]),
    (["a", "..."], ["a"]),
    (["...", "b", "...", "d"], ["a", "b", "c", "d"]),
    (["loss=1.000"], ["loss=1.001"]),
]
OTHER = [
    (["0.1 + 0.2 = 0.3"], ["0.1 + 0.2 = 0.4"]),
    (["max(0, 1) = 1"], ["max(0, 1) = 1", "and more"]),
    (["...", "b"], ["a", "c"]),
    (["...", "c", "...", "b", "..."], ["a", "b", "c"]),
    (["a b"], ["a c"]),
    (["1 2"], ["1"]),
]


@pytest.mark.parametrize(("quoted", "printed"), SAME)
def test_what_is_quoted_may_leave_out_lines_and_last_digits(
    quoted: list[str], printed: list[str], tutorial: ModuleType
) -> None:
    assert tutorial.matches(quoted, printed)


@pytest.mark.parametrize(("quoted", "printed"), OTHER)
def test_what_is_quoted_wrongly_is_found(quoted: list[str], printed: list[str], tutorial: ModuleType) -> None:
    assert not tutorial.matches(quoted, printed)


def test_a_number_may_differ_by_what_the_text_allows_and_no_more(tutorial: ModuleType) -> None:
    assert tutorial.matches(["Accuracy=0.95"], ["Accuracy=0.97"], within=0.03)
    assert not tutorial.matches(["Accuracy=0.95"], ["Accuracy=0.99"], within=0.03)


FALSE = """
```console
$ runner summary
...
                                                 total            3
$ runner summary trainer.epochs=-1
...
```

```python
print("one")
```

```text
two
```
"""


def test_a_tutorial_that_is_wrong_is_reported_line_by_line(
    tutorial: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "false.md").write_text(FALSE)
    assert check(tutorial, monkeypatch, tmp_path / "false.md") == 1
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if line.startswith("line ")] == [
        "line 3",
        "line 6",
        "line 10",
    ]
    assert "exit code 2 of runner summary trainer.epochs=-1" in printed


def test_a_picture_that_has_changed_is_found_and_replaced(
    tutorial: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tmp_path / "mlruns/x/abc/artifacts/plots/a.png"
    artifact.parent.mkdir(parents=True)
    shutil.copy(DOCS / "pictures/tutorial/conv1d.png", artifact)
    old = tmp_path / "docs/a.png"
    picture = tutorial.Picture(1, "plots/a.png", old)
    old.parent.mkdir()
    pixels = np.array(imread(artifact))
    pixels[120:135, 580:615] = 1  # where the 0.8 is
    imsave(old, pixels)
    monkeypatch.setattr(tutorial, "DOCS", tmp_path)

    assert len(list(tutorial.compare(picture, ["abc"], tmp_path, True))) == 1
    assert list(tutorial.compare(picture, ["abc"], tmp_path, False)) == []
    assert list(tutorial.compare(picture, ["abc"], tmp_path, True)) == []


def test_every_picture_of_the_tutorial_is_made_by_an_experiment(tutorial: ModuleType) -> None:
    text = (DOCS / "tutorial.md").read_text()
    assert len(tutorial.pictures(text)) == text.count("![")
