"""Gives up a job of a sweep between two epochs, when a rule finds that others do better."""

from pathlib import Path
from typing import TYPE_CHECKING

from runner.sweep.prune.shared_values import SharedLooks
from runner.sweep.report.rows import PRUNED
from runner.training import pruners
from runner.training.events import Epoch, Event, Observer, Silence

if TYPE_CHECKING:
    from runner.training.run import Run

#: In the folder that the jobs of a sweep share.
FILE = "looks.jsonl"


def pruning(run: "Run", job: int, folder: Path) -> Observer:
    """What ends `run`, the sweep's job of this number, when `sweep.pruner` says so; one that does nothing without.

    folder: the one that all jobs of the sweep share.
    """
    return Pruning(run, job, folder / FILE) if run.settings.sweep.pruner is not None else Silence()


class Pruning:
    """An observer of one run. Sets `run.tags` and `run.stopped`, so that training ends before the next step."""

    def __init__(self, run: "Run", job: int, path: Path) -> None:
        self.run, self.job = run, job
        self.rule, self.shared = pruners.read(run.settings.sweep.pruner), SharedLooks(path, run.best.mode)
        if run.epoch in self.shared.now().values.get(job, {}):  # a resumed run that was interrupted at this look
            self._judge()

    def record(self, event: Event) -> None:
        if isinstance(event, Epoch):
            self.shared.add(self.job, event.epoch, self.run.best.newest)
            self._judge()

    def _judge(self) -> None:
        run = self.run
        if run.stopped or run.epoch >= run.settings.trainer.epochs:
            return
        if reason := self.rule.judge(self.shared.now(), self.job, run.epoch):
            run.tags[PRUNED], run.stopped = str(run.epoch), f"pruned after epoch {run.epoch}: {reason}"
