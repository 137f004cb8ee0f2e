"""Plots of a run while it trains, every so many epochs or steps: `plots: [{fit: {every: 5}}]`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import plots
from runner.model import modes
from runner.settings.errors import labelled
from runner.settings.trust import terminal
from runner.training.events import Artifacts
from runner.training.state import generators
from runner.training.state.due import Due
from runner.training.subject import Subject
from runner.training.unpictured import Unpictured

if TYPE_CHECKING:
    from runner.training.run import Run

#: Tag of a run's record with the reason for which a plot was not drawn to the end of training.
FAILED = "plots.failed"


class Present(Subject):
    """A run with the weights that it has, as it is given to plots."""

    @property
    def title(self) -> str:
        """The title of plots: the run's name and its step."""
        return f"{self.run.name} (step {self.run.state.step:,})"


class Pictures(Unpictured):
    """Draws plots of a run between two steps. The run's generators, weights and modes are then as they were.

    A plot that fails is reported at once and not drawn again while the run trains; it is tried once more at the end, as
    all plots are, and the run fails if it fails there.
    """

    def __init__(self, draws: Mapping[str, Callable[[Any], Any]], due: Mapping[str, Due]) -> None:
        self._draws, self._due = draws, dict(due)

    def after(self, run: "Run", step: int) -> Iterator[Artifacts]:
        """Yield the folders of the plots that are due after a step, as plots/<name>/<step>.png."""
        for name, due in [*self._due.items()]:
            if due.is_now(step, run.steps_per_epoch):
                yield from self._drawn(run, step, name)

    def _drawn(self, run: "Run", step: int, name: str) -> Iterator[Artifacts]:
        folder = run.folder / f"drawn-{name}-{step}"
        place = plots.file(name, folder / "plots").with_suffix("") / f"{step}.png"
        try:
            with generators.undrawn(run.device), modes.evaluating(run.model):
                self._draw(Present(run), name, place)
        except Exception as error:
            del self._due[name]
            why = f"{name} cannot be drawn at step {step:,}: {labelled(error)}"
            run.tags[FAILED] = terminal.line(why)
            terminal.say(f"{why}; training goes on without it")
            return
        yield Artifacts(folder)

    def _draw(self, subject: Subject, name: str, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        plots.save(self._draws[name](subject), place)
