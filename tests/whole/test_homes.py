"""A home that cannot be written, an odd key in it, and no folder for temporary files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runner.settings import errors
from runner.tracking.write import marks
from tests.support import disk


def test_a_key_of_no_bytes_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses power just after it was made leaves one, and no mark would ever be known again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "runner" / "key"
    path.parent.mkdir()
    path.touch(0o600)
    mark = marks.mark("x")
    assert path.stat().st_size == marks.BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert marks.is_ours(mark, "x")


@pytest.mark.parametrize("kind", ["short", "link", "folder", "pipe", "foreign", "read by others"])
def test_a_key_that_is_none_marks_nothing_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path, content = tmp_path / "runner" / "key", b"0" * marks.BYTES
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "link":
        (tmp_path / "other").write_bytes(content)
        (tmp_path / "other").chmod(0o600)
        path.symlink_to(tmp_path / "other")
    else:
        path.write_bytes(content[:5] if kind == "short" else content)
        path.chmod(0o644 if kind == "read by others" else 0o600)
    if kind == "foreign":
        if os.getuid() != 0:
            pytest.skip("a file cannot be given away")
        os.chown(path, 65534, 65534)
    assert marks.mark("x") == ""
    assert not marks.is_ours("", "x")
    assert path.is_symlink() or path.exists()


def test_no_folder_for_temporary_files_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere", "/proc"])
    with pytest.raises(FileNotFoundError) as error:
        tempfile.mkdtemp()
    assert errors.sentence(error.value) == (
        "no folder for temporary files can be written, of ['/proc/nowhere', '/proc']; name one that can: TMPDIR=FOLDER"
    )
    assert errors.sentence(FileNotFoundError(2, "No such file or directory", "x")) is None


PLOT = """
import logging
if {control}:
    from runner import plots
from runner.plots import _style
if not {control}:
    for name in ("matplotlib", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.WARNING)
_style.page("a", "b").canvas.draw()
"""


def test_matplotlib_says_nothing_of_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    with disk.small(tmp_path / "home", "1m") as small:
        if small is None:
            pytest.skip("this process may mount no disk of its own")
        subprocess.run(["mount", "-o", "remount,ro", small.folder], check=True)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG", "MPL"))}
        env |= {"HOME": str(small.folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        said = [
            subprocess.run(
                [sys.executable, "-c", PLOT.format(control=quiet)], env=env, capture_output=True, text=True, check=True
            ).stderr
            for quiet in (True, False)
        ]
    assert said[0] == ""
    assert "is not a writable directory" in said[1] or "temporary cache directory" in said[1], "the control"
