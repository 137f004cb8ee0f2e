"""Pictures written by other processes: all of them are there, whatever becomes of a process."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from runner.sweep import rendering
from runner.sweep.rendering import Renderer

PNG = b"\x89PNG"


class Speaks(Figure):
    """A figure of the user's that prints when it is read."""

    def __setstate__(self, state: object) -> None:
        print("done", flush=True)
        super().__setstate__(state)  # type: ignore[misc]


class Ends(Figure):
    """Ends the process that reads it, if that is not the one that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = os.getpid()

    def __setstate__(self, state: dict[str, int]) -> None:
        if state["maker"] != os.getpid():
            os.kill(os.getpid(), signal.SIGKILL)
        super().__setstate__(state)  # type: ignore[misc]


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Renderer]:
    monkeypatch.setattr(rendering, "MOST", 1)
    with rendering.rendering(2) as found:
        assert isinstance(found, Renderer)
        yield found


def begun(renderer: Renderer) -> list[int]:
    """The processes so far."""
    return [process.pid for process in renderer._processes]


def test_pictures_are_there_and_another_process_wrote_them(renderer: Renderer, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        renderer.save(Figure(), tmp_path / name)
    renderer.wait(tmp_path)
    assert [(tmp_path / name).read_bytes()[:4] for name in ("a.png", "b.png")] == [PNG, PNG]
    assert len(begun(renderer)) == 1


def test_a_picture_that_prints_answers_for_no_other(renderer: Renderer, tmp_path: Path) -> None:
    renderer.save(Speaks(), tmp_path / "a.png")
    renderer.save(Figure(), tmp_path / "missing" / "b.png")
    with pytest.raises(FileNotFoundError):  # from writing it here: nobody has said that it is done
        renderer.wait(tmp_path)
    assert (tmp_path / "a.png").read_bytes()[:4] == PNG


def test_a_process_that_dies_is_followed_by_another(renderer: Renderer, tmp_path: Path) -> None:
    renderer.save(Ends(), tmp_path / "a.png")
    renderer.save(Figure(), tmp_path / "b.png")
    renderer.wait(tmp_path)
    assert [(tmp_path / name).read_bytes()[:4] for name in ("a.png", "b.png")] == [PNG, PNG]
    assert len(begun(renderer)) == 2


def test_modules_of_the_working_directory_are_not_loaded(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("open('loaded', 'w').close()")
    monkeypatch.chdir(tmp_path)
    renderer.save(Figure(), tmp_path / "a.png")
    renderer.wait(tmp_path)
    assert (tmp_path / "a.png").exists()
    assert not (tmp_path / "loaded").exists()


def test_a_single_run_writes_its_own(tmp_path: Path) -> None:
    with rendering.rendering(1) as found:
        found.save(Figure(), tmp_path / "a.png")
        assert found.ready(tmp_path)
    assert (tmp_path / "a.png").read_bytes()[:4] == PNG
