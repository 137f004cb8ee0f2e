"""The console of every command, and figures on it. Loads no torch."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from runner.settings.trust import terminal

#: Columns where there is no terminal.
WIDTH = 160


def console() -> Console:
    """Return the console of standard output. In a file or a pipe it is WIDTH columns wide and has no colours.

    It is quiet where no person reads along.
    """
    if not terminal.shows_text():
        return quiet()
    if is_watched():
        return Plain()
    # FORCE_COLOR and TTY_COMPATIBLE make rich write control codes into any file, and notebooks set the first.
    return Plain(width=WIDTH, force_terminal=False)


class Plain(Console):
    """A console that shows text as it is, since it may be a stranger's: no markup, no `:names:`, no control codes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a word of ours, a cell or a heading as a Text without secrets."""
        return super().render_str(terminal.clean(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of whatever is printed; those that steer the terminal are rich's own."""
        for segment in super().render(renderable, options):
            plain = segment.control or segment.text.isprintable() or segment.text == "\n"
            yield segment if plain else Segment(terminal.shown(segment.text), segment.style)


def is_watched() -> bool:
    """Return whether lines can be written over: on a terminal, and neither in a notebook nor in a log of a CI."""
    notebook = "JPY_PARENT_PID" in os.environ or os.environ.get("MPLBACKEND", "").startswith("module://")
    if notebook or os.environ.get("CI", "false").lower() not in ("", "0", "false"):
        return False
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def quiet() -> Console:
    """Return a console that prints nothing, for a job among many, whose sweep is shown as a whole."""
    return Console(quiet=True)


def figures(metrics: dict[str, float]) -> str:
    """Return metrics as `valid/loss=0.0123  lr=0.1`, without the epoch."""
    return "  ".join(f"{terminal.line(name)}={value:.4g}" for name, value in metrics.items() if name != "epoch")


def result(run_id: str, status: str, metrics: dict[str, Any]) -> str:
    """Return the last line of a training: `run ID STATUS valid/loss=0.0123`. Texts among the metrics stay."""
    values = (f"{k}={v}" if isinstance(v, str) else f"{k}={v:.6g}" for k, v in metrics.items())
    return " ".join(["run", run_id, status, *values])
