"""A sweep that has come to its end: its jobs as a table, its best run, its plots."""

from typing import TYPE_CHECKING, Any

from runner.api import record
from runner.api.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image


class Swept:
    """The jobs of a sweep and the run that stands for all of them.

    id: of that run. plain: the result as `runner -m --json` prints it.
    """

    def __init__(self, plain: dict[str, Any]) -> None:
        self.id, self.uri, self.plain = str(plain["sweep"]), str(plain["uri"]), plain

    def __repr__(self) -> str:
        return f"<sweep {self.id[:8]} of {len(self.plain['jobs'])} jobs: {self.status}>"

    def _repr_html_(self) -> str:
        return f"<b>sweep {self.id[:8]}</b>: {self.status}{self.table.to_html(max_rows=20)}"

    @property
    def status(self) -> str:
        """FINISHED if every job is, else FAILED."""
        return str(self.plain["status"])

    @property
    def table(self) -> "pd.DataFrame":
        """A row for each job: what is varied, its run, its status, and the newest value of each metric."""
        import pandas as pd

        rows = [
            {"job": job["job"], **_read(job["overrides"]), "run": job["run"], "status": job["status"],
             self.plain["metric"] + " (best)": job["value"], **job["metrics"], "seconds": job["seconds"]}
            for job in self.plain["jobs"]
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("job")

    @property
    def best(self) -> Record | None:
        """The run of the best job; None where none has finished, and in a sweep over folds."""
        best = self.plain["best"]
        return None if best is None else Record(best["run"], self.uri)

    @property
    def runs(self) -> list[Record]:
        """The runs of all jobs that have begun."""
        return [Record(job["run"], self.uri) for job in self.plain["jobs"] if job["run"]]

    def plot(self, name: str = "curves") -> "Image":
        """Return a plot of the sweep as a picture, which a notebook shows."""
        return record.picture(self.uri, self.id, name)


def _read(overrides: dict[str, str]) -> dict[str, Any]:
    """Return the varied values as numbers where they are some."""
    import yaml

    return {
        key: yaml.safe_load(text) if text.strip("+-.0123456789e") == "" else text for key, text in overrides.items()
    }
