"""One copy of the data for all runs that read the same."""

from dataclasses import replace
from weakref import WeakValueDictionary

from runner import plots
from runner.data import Tensors
from runner.training import in_place
from runner.training.run import Run
from runner.training.vectorized.feed import same

PARTS = ("train", "valid", "test")


class Shared:
    """Gives a run the tensors of an earlier one that is still there, where both read the same.

    A run with code of a person's own, which may write into its data, keeps its own.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Tensors] = WeakValueDictionary()

    def take(self, run: Run) -> None:
        """Compares the data themselves: a source may give others for the same settings."""
        if has_own(run):
            return
        parts: dict[str, Tensors] = {}
        for part in PARTS:
            source = getattr(run.data, part)
            if isinstance(source, Tensors):
                key = f"{part} {run.device} {source.x.shape} {run.settings.data}"
                known = self._known.get(key)
                parts[part] = known if known is not None and same(known, source) else source
                self._known[key] = parts[part]
        run.data = replace(run.data, **parts)  # type: ignore[arg-type]


def has_own(run: Run) -> bool:
    """Whether code of a person's own sees the run's data."""
    modules = [*run.model.modules(), *run.loss.modules(), *run.metrics.values()]
    own = run.parts.step is not None or any(map(in_place.is_own, modules))
    return own or not set(run.settings.plots) <= set(plots.names())
