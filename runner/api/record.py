"""A recorded run: what it was, how it went, and what one does with it next."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.api import process, words
from runner.api.words import Word

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from torch import nn

    from runner.data import Nest


class Record:
    """A run in a tracking store. Facts are read from the store when they are asked for.

    id: of the run. uri: of its store.

        run = runner.run("last")
        run.history["train/loss"].plot()
    """

    def __init__(self, run_id: str, uri: str) -> None:
        self.id, self.uri = run_id, uri

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Record":
        """Return the run that a command has reported."""
        return cls(plain["run"], plain["uri"])

    def __repr__(self) -> str:
        return f"<run {self.id[:8]} {self.name}: {self.status}>"

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align:right'>{value:.6g}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<b>run {escape(self.id[:8])}</b> {escape(self.name)}: {escape(self.status)}<table>{rows}</table>"

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self._run.info.run_name)

    @property
    def status(self) -> str:
        """FINISHED, FAILED, KILLED or RUNNING."""
        return str(self._run.info.status)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of every metric."""
        return dict(self._run.data.metrics)

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags: versions, device, commit, and those of the study."""
        return dict(self._run.data.tags)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole configuration, as it was resolved."""
        import yaml

        from runner.tracking.read import recall

        with process.reading():
            read: dict[str, Any] = yaml.safe_load(recall.text(self.uri, self.id, "config.yaml"))
            return read

    @property
    def history(self) -> "pd.DataFrame":
        """Every recorded value: a row for each optimizer step, a column for each metric, NaN where there is none."""
        import pandas as pd

        from runner.tracking.read import recall

        with process.reading():
            points = recall.points(self.uri, self.id, sorted(self._run.data.metrics))
        table = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in points.items()})
        return table.sort_index().rename_axis("step")

    def model(self, checkpoint: str = "best", raw: bool = True, code: str = "current") -> "nn.Module":
        """Return the trained model, see `runner.load`."""
        import runner

        with process.reading():
            return runner.load(self.id, self.uri, checkpoint, raw, code=code)

    def predict(self, x: Any, checkpoint: str = "best") -> "Nest | pd.DataFrame":
        """Return the model's outputs for inputs as the data source gives them.

        x: an array or tensor of shape (N, ...), or a tuple or dict of them; or a DataFrame with the columns that the
            run was trained on, for which a DataFrame comes back, as `runner predict` writes it.
        """
        import torch

        if type(x).__module__.partition(".")[0] == "pandas":
            return self._predicted(x, checkpoint)
        model = self.model(checkpoint)
        floating = next((p.dtype for p in model.parameters()), torch.float32)

        def tensor(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: tensor(inner) for key, inner in value.items()}
            if isinstance(value, tuple):
                return tuple(map(tensor, value))
            made = torch.as_tensor(value)
            return made.to(floating) if made.is_floating_point() else made

        with torch.no_grad():
            return model(tensor(x))

    def evaluate(self, split: str = "test", checkpoint: str = "best", **values: Any) -> dict[str, float]:
        """Return loss and metrics of a checkpoint on train, valid or test data, as `runner evaluate` computes them."""
        typed = ["evaluate", self.id, f"split={split}", f"checkpoint={checkpoint}", *self._place()]
        return self._invoked([*typed, *words.of_call(None, (), values)])["values"]  # type: ignore[no-any-return]

    def resume(self, *overrides: Word, show: bool = True, code: str = "", **values: Any) -> "Record":
        """Continue the run in its record, exactly as if it had not stopped; `epochs=40` makes it longer.

        overrides, values: as for `runner.train`; epochs and steps are those of the trainer.
        """
        from runner.api import live

        longer = {f"trainer.{key}": values.pop(key) for key in ("epochs", "steps") if key in values}
        typed = ["resume", self.id, *self._place(), *([f"code={code}"] if code else [])]
        with live.shown(show):
            self._invoked([*typed, *words.of_call(None, overrides, {**longer, **values})])
        return Record(self.id, self.uri)

    def plot(self, name: str = "loss_curve") -> "Image":
        """Return a recorded plot as a picture, which a notebook shows; `.save("curve.png")` writes it."""
        return picture(self.uri, self.id, name)

    def files(self) -> list[str]:
        """Return the names of the run's artifacts."""
        from runner.tracking.read import recall

        def below(folder: str | None) -> list[str]:
            entries = client.list_artifacts(self.id, folder)
            return [name for e in entries for name in (below(e.path) if e.is_dir else [e.path])]

        with process.reading():
            client = recall.existing(self.uri)
            return sorted(below(None))

    @property
    def _run(self) -> Any:
        from runner.tracking.read import recall

        with process.reading():
            return recall.run(self.uri, self.id)

    def _place(self) -> list[str]:
        return [f"tracking.uri={words.value_text(self.uri)}"]

    def _invoked(self, typed: list[str]) -> dict[str, Any]:
        with process.lent():
            return process.command(typed)

    def _predicted(self, table: "pd.DataFrame", checkpoint: str) -> "pd.DataFrame":
        import pandas as pd

        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            inputs, output = Path(folder) / "inputs.csv", Path(folder) / "outputs.csv"
            table.to_csv(inputs, index=False)
            files = [f"inputs={words.value_text(str(inputs))}", f"output={words.value_text(str(output))}"]
            self._invoked(["predict", self.id, *files, f"checkpoint={checkpoint}", *self._place()])
            return pd.read_csv(output)


def picture(uri: str, run_id: str, name: str) -> "Image":
    """Return the plot `name` of a run as a picture. Raises ConfigError with the plots that there are."""
    from PIL import Image

    from runner.settings.errors import ConfigError, did_you_mean
    from runner.tracking.read import recall

    with process.reading(), tempfile.TemporaryDirectory(prefix="runner-") as folder:
        client = recall.existing(uri)
        there = [Path(e.path).stem for e in client.list_artifacts(run_id, "plots")]
        if name not in there:
            known = f" (there are {', '.join(there)})" if there else "; it has no plots"
            raise ConfigError("plot", f"run {run_id[:8]} has no plot {name!r}{did_you_mean(name, there)}{known}")
        image = Image.open(recall.artifact(client, run_id, f"plots/{name}.png", folder))
        image.load()
        return image
