"""`sweep.keep`: whose checkpoints, predictions and plots a sweep keeps.

A job that is interrupted keeps its checkpoints whatever is set, so that it can be continued. When a job has FINISHED,
its files are left out or deleted: of every job with `none`, with `best` of every job that another has beaten. If that
one then fails, the best of those that have theirs keeps them. A run without them has the tag `sweep.dropped`.
"""

import contextlib
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.sweeps.manifest import Job
from runner.sweeps.report import rows
from runner.tracking.read import recall
from runner.tracking.store import artifacts, stores
from runner.tracking.store.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from runner.sweeps.report.table import Table
    from runner.sweeps.run.info import SweepInfo
    from runner.sweeps.run.outcome import Outcome
    from runner.training.run import Run

CHOICES = ("all", "best", "none")
#: Artifacts that are not kept, and the tags that name them.
FILES = ("checkpoints", "history", "plots", "predictions.npy", "fold_indices.npy")
TAGS = [f"checkpoint.{name}{end}" for name in ("last", "best", "averaged") for end in ("", ".step", ".sha256", ".kept")]


def check(settings: Settings) -> None:
    """Raise ConfigError for a `sweep.keep` that is none, or that other settings contradict."""
    keep = settings.sweep.keep
    if keep not in CHOICES:
        raise ConfigError(
            "sweep.keep", f"{keep!r} is not one of {', '.join(CHOICES)}{did_you_mean(str(keep), CHOICES)}"
        )
    if keep != "all" and settings.tracking.log_model:
        raise ConfigError(
            "sweep.keep", f"{keep} keeps no model of most jobs; set tracking.log_model=false, or keep all"
        )
    metric = settings.sweep.metric
    if keep == "best" and isinstance(metric, list) and len(metric) > 1:
        raise ConfigError("sweep.keep", "several objectives have no best job; keep all or none")


class Keeping:
    """Decides for the jobs of this process, one after the other, whose files are kept."""

    def __init__(self, info: "SweepInfo") -> None:
        self.info = info
        self._costs: dict[int, float] = {}  # job -> lower for a better value; of those whose files are written
        self._runs: dict[int, str] = {}  # job -> its run, of those that have FINISHED
        self._asked = False

    def follow(self, number: int, run: "Run") -> None:
        """Have the run of a job ask at its end whether its files are to be written."""
        if run.settings.sweep.keep != "all":
            run.keeps = partial(self._wants, number)

    def settle(self, run: "Run", outcome: "Outcome") -> None:
        """Delete what is not kept now that a job has ended: files that it wrote on its way, or those of a beaten job.

        Where the store does not answer, `clear` does it when the sweep ends.
        """
        keep, number = run.settings.sweep.keep, outcome.number
        beaten: list[str] = []
        if keep == "all" or (keep == "best" and self.info.over_seeds):
            return
        if outcome.status != "FINISHED":
            self._costs.pop(number, None)
        elif not run.kept:
            beaten = [outcome.run_id] if run.written.steps else []
        elif keep == "best":
            self._costs[number], self._runs[number] = self._cost(outcome.value), outcome.run_id
            for other in sorted(self._runs, key=self._rank)[1:]:
                del self._costs[other]
                beaten.append(self._runs.pop(other))
        if beaten:
            with contextlib.suppress(Exception):
                client = stores.open_store(self.info.uri)
                for run_id in beaten:
                    drop(client, run_id, keep)

    def _wants(self, number: int, run: "Run") -> bool:
        keep = run.settings.sweep.keep
        if keep == "best" and self.info.over_seeds:
            return True
        if keep == "best":
            self._ask()
            cost = self._cost(run.best.value if run.monitor == self.info.metric else None)
            if cost == math.inf or all((cost, number) < self._rank(other) for other in self._costs):
                self._costs[number] = cost
                return True
        run.tags[recall.DROPPED] = keep
        return False

    def _ask(self) -> None:
        """Ask the store for the best job so far, once: the sweep may have been resumed, or jobs run elsewhere."""
        if self._asked:
            return
        self._asked = True
        with contextlib.suppress(Exception):  # of a store that is away
            client = stores.open_store(self.info.uri)
            experiment = client.get_run(self.info.parent).info.experiment_id
            runs = rows.children(client, experiment, self.info.parent)
            for row in rows.rows([Job(n, [], {}, {}) for n in runs], {}, runs, {}, self.info.metric):
                if row.status == "FINISHED" and recall.DROPPED not in runs[row.number].data.tags:
                    self._costs[row.number], self._runs[row.number] = self._cost(row.value), row.run_id

    def _rank(self, number: int) -> tuple[float, int]:
        return self._costs[number], number

    def _cost(self, value: float | None) -> float:
        if value is None or not math.isfinite(value):
            return math.inf
        return value if self.info.mode == "min" else -value


def clear(client: "MlflowClient", info: "SweepInfo", keep: str, table: "Table") -> None:
    """Delete, at the end of a sweep, what its FINISHED jobs have and `sweep.keep` does not keep.

    table: of all its jobs. Raises whatever the store raises.
    """
    if keep == "all":
        return
    experiment = client.get_run(info.parent).info.experiment_id
    runs = {run.info.run_id: run for run in rows.children(client, experiment, info.parent).values()}
    kept = _best_with_files(client, runs, table) if keep == "best" else ""
    for run_id, run in runs.items():
        if run.info.status == "FINISHED" and run_id != kept and any(tag in run.data.tags for tag in TAGS):
            drop(client, run_id, keep)


def _best_with_files(client: "MlflowClient", runs: dict[str, Any], table: "Table") -> str:
    """Return the best FINISHED run whose files were not left out for one that was better then, and failed later; or "".

    runs: the sweep's own. A job may have a run of another sweep (`sweep.reuse`), which is left as it is.
    """
    best = [table.best] if table.best else []
    ranked = [row for row in table.ranked if row.status == "FINISHED"]
    without_value = [row for row in table.having("FINISHED") if row not in ranked]
    for row in [*best, *ranked, *without_value]:
        run = runs.get(row.run_id) or client.get_run(row.run_id)
        if recall.DROPPED not in run.data.tags:
            return row.run_id
    return ""


def drop(client: "MlflowClient", run_id: str, keep: str) -> None:
    """Delete the checkpoints, predictions and plots of a run, and the tags that name them.

    The tags go first: a run whose files are half deleted names none of them.
    """
    client.set_tag(run_id, recall.DROPPED, keep)
    for tag in [tag for tag in TAGS if tag in client.get_run(run_id).data.tags]:
        client.delete_tag(run_id, tag)
    for place in FILES:
        artifacts.delete(client, run_id, place, Patience())
