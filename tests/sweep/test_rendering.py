"""Pictures written by other processes: all of them are there, whatever becomes of a process."""

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from runner import plots
from runner.sweeps.run import drawing
from runner.sweeps.run import subject as portrait
from runner.sweeps.run.drawing import Renderer
from runner.training import finish
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.subject import Subject
from tests.conftest import settings

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


@contextlib.contextmanager
def of_one_process() -> Iterator[Renderer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "MOST", 1)
        with drawing.rendering(2) as found:
            assert isinstance(found, Renderer)
            yield found


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    """Shared by those that leave its process alive."""
    with of_one_process() as found:
        yield found


@pytest.fixture
def own_renderer() -> Iterator[Renderer]:
    with of_one_process() as found:
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


def test_a_process_that_dies_is_followed_by_another(own_renderer: Renderer, tmp_path: Path) -> None:
    own_renderer.save(Ends(), tmp_path / "a.png")
    own_renderer.save(Figure(), tmp_path / "b.png")
    own_renderer.wait(tmp_path)
    assert [(tmp_path / name).read_bytes()[:4] for name in ("a.png", "b.png")] == [PNG, PNG]
    assert len(begun(own_renderer)) == 2


def test_modules_of_the_working_directory_are_not_loaded(
    own_renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("open('loaded', 'w').close()")
    monkeypatch.chdir(tmp_path)
    own_renderer.save(Figure(), tmp_path / "a.png")
    own_renderer.wait(tmp_path)
    assert (tmp_path / "a.png").exists()
    assert not (tmp_path / "loaded").exists()
    monkeypatch.setattr(drawing, "FLAGS", ())
    with drawing.rendering(2) as unguarded:
        unguarded.save(Figure(), tmp_path / "b.png")
        unguarded.wait(tmp_path)
    assert (tmp_path / "loaded").exists(), "nothing would have happened: the guard guards nothing"


RUNS: dict[str, dict[str, Any]] = {
    "classes": {
        "data": {"name": "digits", "valid": 0.2, "test": 0.2},
        "layers": [{"Conv2d": {"out_channels": 3, "kernel_size": 3}}, "Flatten", {"Linear": 10}],
        "loss": {"name": "CrossEntropyLoss"},
        "batch_size": 64,
        "epochs": 1,
        "plots": ["loss_curve", "confusion_matrix", "examples", "filters", "feature_maps"],
    },
    "numbers": {"plots": ["fit", "predicted_vs_true", "examples", "loss_curve"]},
    "numbers without a part to look at": {
        "data": {"name": "line", "points": 64, "valid": 0},
        "plots": ["fit", "predicted_vs_true", "examples", "loss_curve"],
    },
    "numbers in float64": {"precision": "fp64", "plots": ["fit", "predicted_vs_true", "examples"]},
}


@pytest.fixture
def trained() -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def train(**given: Any) -> Run:
        made.append(prepare(settings(**given), "test"))
        made[-1].draw = lambda run, folder: None
        drive(made[-1])
        return made[-1]

    yield train
    for run in made:
        run.close()


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", RUNS)
def test_plots_are_those_that_the_run_itself_would_draw(
    trained: Callable[..., Run], renderer: Renderer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, here, there = trained(**RUNS[kind]), tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    finish.draw(Subject(run), here)
    monkeypatch.setattr(plots, "save", None)  # nothing is written in this process from now on
    renderer.draw(Subject(run), there)
    renderer.wait(there)
    assert len(begun(renderer)) == 1
    assert list(pictures(there)) != []
    assert pictures(there) == pictures(here)


def test_what_cannot_be_handed_over_is_drawn_here(
    trained: Callable[..., Run], renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(**RUNS["numbers"])
    for i, change in enumerate(("large", "low precision", "no pickle")):
        with monkeypatch.context() as patch:
            if change == "large":
                patch.setattr(portrait, "MOST", 100)
            elif change == "low precision":
                patch.setattr(run.settings.trainer, "precision", "bf16")
            else:
                patch.setitem(run.data.notes, "secret", lambda: None)
            folder = tmp_path / str(i)
            folder.mkdir()
            renderer.draw(Subject(run), folder)
            assert folder not in [entry[0] for entry in renderer._begun]
            renderer.wait(folder)
            assert sorted(path.stem for path in folder.iterdir()) == sorted(run.settings.plots)


def test_a_part_that_a_plot_does_not_tell_of_is_not_a_wrong_picture(
    trained: Callable[..., Run], renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has only its first example, and says so; the picture is drawn here."""
    run, here, there = trained(**RUNS["numbers"]), tmp_path / "here", tmp_path / "there"
    monkeypatch.setattr(run.settings, "plots", ["predicted_vs_true"])
    monkeypatch.setattr(plots, "parts_of", lambda name, parts: [])
    here.mkdir()
    there.mkdir()
    finish.draw(Subject(run), here)
    renderer.draw(Subject(run), there)
    renderer.wait(there)
    assert pictures(there) == pictures(here)


def test_of_data_that_no_plot_goes_through_one_example_is_handed_over(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(data={"name": "line", "points": 50_000, "valid": 40}, plots=["predicted_vs_true"])
    told = pickle.dumps(portrait.portrait(Subject(run), ["predicted_vs_true"]))
    assert len(told) < 50_000 < run.data.train.x.nbytes  # type: ignore[union-attr]


def test_a_layer_that_cannot_be_handed_over_is_no_failure(
    trained: Callable[..., Run], renderer: Renderer, tmp_path: Path
) -> None:
    run = trained(**RUNS["numbers"])
    run.model.kept = threading.Lock()  # type: ignore[assignment]
    renderer.draw(Subject(run), tmp_path)
    renderer.wait(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(run.settings.plots)


def test_one_that_fails_leaves_the_others_alone(renderer: Renderer, tmp_path: Path) -> None:
    renderer.save(Figure(), tmp_path / "missing" / "a.png")
    renderer.save(Figure(), tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        renderer.wait(tmp_path)
    assert (tmp_path / "b.png").read_bytes()[:4] == PNG
    assert len(begun(renderer)) == 1  # which said so and went on


def test_pictures_that_nobody_waits_for_hold_nothing_up(tmp_path: Path) -> None:
    with drawing.rendering(2) as found:
        assert isinstance(found, Renderer)
        found.save(Figure(), tmp_path / "a.png")
        found.wait(tmp_path)
        for process in found._processes:
            os.kill(process.pid, signal.SIGSTOP)
        for i in range(5):
            found.save(Figure(), tmp_path / f"{i}.png")
    assert all(process.poll() is not None for process in found._processes)


def test_a_plot_that_fails_fails_here(trained: Callable[..., Run], renderer: Renderer, tmp_path: Path) -> None:
    run = trained(**RUNS["numbers"])
    run.recorder.points["valid/loss"] = [("no", "numbers")]  # type: ignore[list-item]
    renderer.draw(Subject(run), tmp_path)
    with pytest.raises(ValueError, match="no"):
        renderer.wait(tmp_path)


def test_a_plot_that_fails_leaves_the_others(
    trained: Callable[..., Run], renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, here, there = trained(**RUNS["numbers"]), tmp_path / "here", tmp_path / "there"
    plots = {"bad": lambda subject: 1 / 0, "loss_curve": run.parts.plots["loss_curve"]}
    run.parts = replace(run.parts, plots=plots)  # type: ignore[arg-type]
    for folder, draw in ((here, finish.draw), (there, renderer.draw)):
        folder.mkdir()
        with pytest.raises(ZeroDivisionError):
            draw(Subject(run), folder)
        renderer.wait(folder)
        assert [path.name for path in folder.iterdir()] == ["loss_curve.png"]


def test_a_single_run_draws_its_own(trained: Callable[..., Run], tmp_path: Path) -> None:
    run = trained(plots=["loss_curve"])
    with drawing.rendering(1) as found:
        found.draw(Subject(run), tmp_path)
        assert found.ready(tmp_path)
    assert (tmp_path / "loss_curve.png").read_bytes()[:4] == PNG
