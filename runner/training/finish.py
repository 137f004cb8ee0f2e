"""The end of a run: the last checkpoint, predictions, test figures, plots."""

import io
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner import plots
from runner.model import host
from runner.settings.files import durable
from runner.training import forward, measure
from runner.training.capture import choice
from runner.training.events import Artifacts, Event, Finished
from runner.training.finite import check_loss
from runner.training.subject import Subject

if TYPE_CHECKING:
    from runner.training.run import Run


def finish(run: "Run", draw: Callable[[Subject, Path], None]) -> Iterator[Event]:
    """Yield the last checkpoint, then what the weights of `trainer.test_checkpoint` give: predictions, figures, plots.

    Without the first, the predictions and the plots where `run.keeps` does not want them.
    draw: writes the plots. They come last: one that fails must not take anything else with it.
    """
    if run.best.copied is None:  # there was no validation: this model is all there is
        run.best.take(run.model, run.state.step)
    run.kept = run.keeps(run)
    if run.kept:
        yield from run.snapshots()
    yield from run.debugging.ended(run)
    name, step = run.tested
    subject = Subject(run)
    with run.weights(name):
        if run.kept:
            yield Artifacts(_predictions(run, subject))
        if not run.trains:
            yield Artifacts(_forward(run))
        values, run.together = _values(run), None
        check_loss("test/loss", values.get("test/loss", 0.0), step)
        yield Finished(step, values, _reason(run), _tags(run))
        if run.settings.plots and run.kept:
            yield from _plots(run, subject, draw)


def draw(subject: Subject, folder: Path, names: Iterable[str] | None = None) -> None:
    """Write plots of a run into `folder`, of the weights that it is tested with. names: of the plots; None for all."""
    run = subject.run
    with run.weights(run.tested[0]):
        plots.each(
            run.parts.plots if names is None else names,
            lambda name: plots.save(run.parts.plots[name](subject), plots.file(name, folder)),
        )


def _values(run: "Run") -> dict[str, float]:
    if run.together is not None and run.together.values is not None:
        return run.together.values
    return measure.values(run, run.data.test, "test") if run.data.test is not None and run.trains else {}


def _reason(run: "Run") -> str:
    trainer, steps = run.settings.trainer, f"{run.state.step:,} of {run.steps:,} steps done"
    done = f"{run.epoch} of {trainer.epochs} epochs done" if trainer.steps is None else steps
    return run.stopped or (done if run.trains else "inputs pushed through, nothing trained")


def _tags(run: "Run") -> dict[str, str]:
    """Return the tags of the run's record: the best value, and the checkpoint of test/*, predictions and plots."""
    tags = dict(run.tags)
    if run.trains:
        name, step = run.tested
        tags |= {"test.checkpoint": name, "test.step": str(step)}
        tags |= {"step": how} if (how := choice.described(run.step)) else {}
    if not math.isnan(run.best.value):
        tags |= {
            "best.metric": run.monitor,
            "best.mode": run.best.mode,
            "best.value": repr(run.best.value),
            "best.step": str(run.best.step),
        }
    return tags


def _predictions(run: "Run", subject: Subject) -> Path:
    _, output = subject.outputs(subject.data.valid if subject.data.valid is not None else subject.data.train)
    folder, content = _folder(run.folder / "predictions"), io.BytesIO()
    path = folder / forward.write_prediction(content, output)
    durable.patiently(lambda: durable.write_new(path, content.getbuffer()), run.stop)
    if run.data.places is not None:
        np.save(folder / "fold_indices.npy", host.array(run.data.places), allow_pickle=False)
    return folder


def _forward(run: "Run") -> Path:
    folder, source = _folder(run.folder / "forward"), run.data.train
    forward.write_outputs(run.model, (x for x, _ in measure.reading(run, source)), len(source), folder)  # type: ignore[arg-type]
    forward.work(run.model, run.batch_of(1), folder)
    return folder


def _plots(run: "Run", subject: Subject, draw: Callable[[Subject, Path], None]) -> Iterator[Artifacts]:
    """Yield the folder of the plots. Raises the error of the first plot that fails, after those that do not."""
    folder = run.folder / "pictures"
    failed: Exception | None = None
    try:
        draw(subject, _folder(folder / "plots"))
    except Exception as error:
        failed = error
    yield Artifacts(folder)
    if failed is not None:
        raise failed


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
