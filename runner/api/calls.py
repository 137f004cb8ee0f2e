"""The calls: train, sweep, runs, run, diff, each what the command of this name does."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runner.api import live, process, words
from runner.api.record import Record
from runner.api.swept import Swept
from runner.api.words import Word

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from runner.data import Data


def train(
    study: str | None = None,
    *overrides: Word,
    data: "Data | str | Mapping[str, Any] | None" = None,
    model: "nn.Module | str | Mapping[str, Any] | None" = None,
    show: bool = True,
    **values: Any,
) -> Record:
    """Train one experiment and return its record, as `runner experiments=STUDY OVERRIDE ...` does.

    study: the name of an experiment, or a word. overrides: words as on the command line, or mappings of keys to values.
    values: further keys without a dot, `seed=3`, or parts with values in them, `trainer={"epochs": 3}`.
    data, model: a `runner.data.Data` and a module to train, of this program; or as any other value. What is handed over
        is recorded as such: its digest, but not what made it.
    show: True shows the progress: a bar, and in a notebook a table too.
    Raises runner.ConfigError with all that is wrong, before anything is trained; KeyboardInterrupt after Ctrl-C, when
    the run is recorded as KILLED; and what the training raises, when it is recorded as FAILED.

        run = runner.train("digits_cnn", "optimizer.lr=0.01", seed=3)
        run.metrics["valid/loss"]
    """
    with process.lent(), _given(data, model) as given, live.shown(show):
        typed = words.of_call(study, overrides, {**given, **values})
        return Record.of(process.command(["train", *typed]))


def sweep(
    study: str | None,
    grid: Mapping[str, Iterable[Any]],
    *overrides: Word,
    launcher: str | None = None,
    sweeper: str | None = None,
    show: bool = True,
    **values: Any,
) -> Swept:
    """Train one experiment for each combination of values, as `runner -m` does, and return the sweep.

    grid: key -> its values. launcher, sweeper: the names of Hydra's, `hydra/launcher=vectorized` and so on.
    Others, and raises: see `train`. A job that fails is a row of the table, as on the command line.

        sweep = runner.sweep("digits_mlp", {"optimizer.lr": [0.1, 0.01], "seed": range(8)}, launcher="vectorized")
        sweep.best.metrics
    """
    chosen = {"hydra/launcher": launcher, "hydra/sweeper": sweeper}
    hydra = [f"{key}={name}" for key, name in chosen.items() if name is not None]
    with process.lent(), live.shown(show):
        typed = [*words.of_call(study, overrides, values), *words.of_grid(grid), *hydra]
        return Swept(process.command(["train", "-m", *typed]))


def check(study: str | None = None, *overrides: Word, **values: Any) -> dict[str, Any]:
    """Check an experiment without training it, as `runner check` does: raises ConfigError with all that is wrong."""
    with process.lent():
        return process.command(["check", *words.of_call(study, overrides, values)])


def run(run: str = "last", uri: str | None = None) -> Record:
    """Return a recorded run: by its id, a unique prefix of it, or `last`. uri: the store; None: as for a command."""
    from runner.tracking.read import recall

    with process.reading():
        place = uri or process.store()
        return Record(recall.find_run(place, run), place)


def runs(filter: str = "", sort: str = "", most: int = 50, uri: str | None = None) -> "pd.DataFrame":
    """Return recorded runs as a table, the newest first: one row a run, its metrics and params as columns.

    filter: in MLflow's grammar, "metrics.`valid/loss` < 0.1". sort: "metrics.`valid/loss` ASC". most: rows.
    """
    import pandas as pd

    from runner.commands import runs as command

    with process.reading():
        found = command.with_words(uri or process.store(), filter, sort=sort, most=str(most))
        return pd.json_normalize(found.plain["runs"], max_level=1)


def diff(one: "Record | str", other: "Record | str", uri: str | None = None, deep: bool = False) -> dict[str, Any]:
    """Return how two runs differ, as `runner diff` finds it: causes, and where their numbers part.

    deep: both are prepared again, for their first weights and each layer's output of the first batch.
    """
    names = [record.id if isinstance(record, Record) else record for record in (one, other)]
    place = uri or next((record.uri for record in (one, other) if isinstance(record, Record)), None)
    with process.lent():
        return process.command(["diff", *names, *_at(place), *(["deep=true"] if deep else [])])


def _at(uri: str | None) -> list[str]:
    return [f"tracking.uri={words.value_text(uri)}"] if uri else []


@contextlib.contextmanager
def _given(data: Any, model: Any) -> Iterator[dict[str, Any]]:
    """Yield the values of `data` and `model`; objects of this program are handed over for the block."""
    from torch import nn

    from runner.data import Data
    from runner.settings import given

    values: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if isinstance(data, Data):
            stack.enter_context(given.handed("data", data))
            values["data"] = {"name": "given"}
        elif data is not None:
            values["data"] = data
        if isinstance(model, nn.Module):
            stack.enter_context(given.handed("model", model))
            values["model.layers"] = [{"given": {}}]
        elif model is not None:
            values["model"] = model
        yield values
