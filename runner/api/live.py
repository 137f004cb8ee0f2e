"""The progress of a call in Python: a bar on a terminal, a bar and a table in a notebook, lines elsewhere."""

import contextlib
import importlib
import sys
import time
import warnings
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.training.events import Event
    from runner.training.parts.length import Length


@contextlib.contextmanager
def shown(show: bool) -> Iterator[None]:
    """Show the trainings within the block, if `show` is true."""
    from runner.tracking import training_screen

    if not show:
        yield
        return
    if _in_notebook():
        with warnings.catch_warnings():  # tqdm, which MLflow loads, asks for another package
            warnings.simplefilter("ignore")
            importlib.import_module("tqdm.auto")
    with training_screen.displayed(_notebook if _in_notebook() else training_screen.plainly):
        yield


def _in_notebook() -> bool:
    """Return whether a notebook shows what is displayed: its shell is one that has a kernel."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _notebook(length: "Length", done: int, run_id: str) -> "Notebook":
    return Notebook(length, done, run_id)


class Notebook:
    """A bar with the newest loss and a table with a row for each validation, both in one place of the page."""

    #: Seconds between two updates: each is a message to the browser, and reading the loss waits for the device.
    PERIOD = 0.25
    #: Rows of the table; of more, the newest are shown.
    ROWS = 12

    def __init__(self, length: "Length", done: int, run_id: str) -> None:
        from IPython.display import HTML, display

        self._html, self._length, self._run_id = HTML, length, run_id
        self._step, self._done, self._loss = done, done, ""
        self._rows: list[dict[str, float]] = []
        self._begun = self._seen = time.monotonic()
        self._place = display(HTML(self._page()), display_id=True)

    def record(self, event: "Event") -> None:
        """Show a step, if PERIOD has passed since the last one, or the end of an epoch."""
        from runner.training.events import Epoch, Step

        now = time.monotonic()
        if isinstance(event, Step):
            if now - self._seen < self.PERIOD:
                return
            self._step, self._loss = event.step, f"train/loss {event.read():.4g}"
        elif isinstance(event, Epoch):
            self._step = event.step
            self._rows.append({"step": event.step, **event.metrics})
            if now - self._seen < self.PERIOD:
                return
        else:
            return
        self._seen = now
        self._update()

    def close(self) -> None:
        """Show the end."""
        self._update()

    def _update(self) -> None:
        if self._place is not None:
            self._place.update(self._html(self._page()))

    def _page(self) -> str:
        seconds = max(time.monotonic() - self._begun, 1e-9)
        bar = f"<progress value='{self._step}' max='{self._length.steps}' style='width:20em'></progress>"
        place = escape(f"{self._length.place(self._step)}  {(self._step - self._done) / seconds:.0f} steps/s")
        head = f"<div>{bar} {place} {escape(self._loss)} <small>run {escape(self._run_id[:8])}</small></div>"
        if not self._rows:
            return head
        names = list(self._rows[-1])
        heading = "".join(f"<th>{escape(name)}</th>" for name in names)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_figure(row.get(name))}</td>' for name in names)}</tr>"
            for row in self._rows[-self.ROWS :]
        )
        return f"{head}<table><tr>{heading}</tr>{rows}</table>"


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"
