"""One copy of the data for all runs that read equal data."""

from dataclasses import replace
from weakref import WeakValueDictionary

from runner import plots
from runner.data import Tensors, nests
from runner.training.parts.batches import is_own
from runner.training.run import Run
from runner.training.vectorized.feed import same

PARTS = ("train", "valid", "test")


class Shared:
    """Data of the runs that exist, so that a run with equal data uses the same tensors.

    A run with the user's own code, which may write into its data, has tensors of its own.
    """

    def __init__(self) -> None:
        self._sources: WeakValueDictionary[str, Tensors] = WeakValueDictionary()

    def take(self, run: Run) -> None:
        """Replace the run's data by equal data of an earlier run, if there are any.

        Tensors are compared, because a data source may return others for the same settings.
        """
        if has_own(run):
            return
        parts: dict[str, Tensors] = {}
        for part in PARTS:
            source = getattr(run.data, part)
            if isinstance(source, Tensors):
                key = f"{part} {run.device} {nests.key(source.x)} {run.settings.data}"
                earlier = self._sources.get(key)
                parts[part] = earlier if earlier is not None and same(earlier, source) else source
                self._sources[key] = parts[part]
        run.data = replace(run.data, **parts)  # type: ignore[arg-type]


def has_own(run: Run) -> bool:
    """Return whether code of the user's own is given the run's data: a layer, the loss, a metric or a plot."""
    modules = [*run.model.modules(), *run.loss.modules(), *run.metrics.values()]
    own = run.parts.step is not None or any(map(is_own, modules))
    return own or (bool(run.settings.plots) and not set(run.settings.plots) <= set(plots.names()))
