"""The observer that prunes a job between two epochs, by a rule that compares it with the other jobs."""

from pathlib import Path
from typing import TYPE_CHECKING

from runner.sweeps.prune import rules
from runner.sweeps.prune.shared_values import SharedValues
from runner.sweeps.report.rows import PRUNED
from runner.training.events import Epoch, Event, Observer, Silence

if TYPE_CHECKING:
    from runner.training.run import Run

#: Name of the file in the folder that the jobs of a sweep share.
FILE = "looks.jsonl"


def pruning(run: "Run", job: int, folder: Path) -> Observer:
    """Return the observer that prunes `run` by the rule of `sweep.pruner`, or one that does nothing without a pruner.

    job: number of the job. folder: shared by all jobs of the sweep.
    """
    return Pruning(run, job, folder / FILE) if run.settings.sweep.pruner is not None else Silence()


class Pruning:
    """An observer of one run. It sets `run.tags` and `run.stopped`, which end training before the next step."""

    takes_steps = True

    def __init__(self, run: "Run", job: int, path: Path) -> None:
        self.run, self.job = run, job
        self.rule, self.shared = rules.read(run.settings.sweep.pruner), SharedValues(path, run.best.mode)
        if run.length.rung(run.state.step) in self.shared.now().values.get(
            job, {}
        ):  # a resumed run that was interrupted here
            self._judge()

    def record(self, event: Event) -> None:
        """Share the metric value of an epoch that has ended, and prune the run if the rule says so."""
        if isinstance(event, Epoch):
            self.shared.add(self.job, self.run.length.rung(event.step), self.run.best.newest)
            self._judge()

    def _judge(self) -> None:
        run, rung = self.run, self.run.length.rung(self.run.state.step)
        if run.stopped or run.state.step >= run.steps:
            return
        if reason := self.rule.judge(self.shared.now(), self.job, rung):
            after = f"{'validation' if run.length.in_steps else 'epoch'} {rung}"
            run.tags[PRUNED], run.stopped = str(rung), f"pruned after {after}: {reason}"
