"""Jobs of a sweep under way, and what has become of them."""

import threading
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.plots import save
from runner.settings import made
from runner.settings.errors import first_line
from runner.settings.trust import terminal
from runner.sweep import manifest
from runner.sweep.digest import digest
from runner.sweep.manifest import Job, Manifest
from runner.sweep.report import files, plots, rows
from runner.sweep.report.table import Row, Table
from runner.sweep.run.job import Told
from runner.sweep.run.outcome import Outcome
from runner.tracking.store import stores
from runner.training.events import Event, Kept
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.tracking.write.tracker import Tracker

#: Runs jobs, here or elsewhere, and returns when all of them have ended.
Launch = Callable[[list[Job], Told], list[Outcome]]


class Sweep:
    """`run` may be called again and again with further jobs; the board looks at the table from a thread of its own."""

    def __init__(
        self, plan: Manifest, told: Told, tracker: "Tracker", launch: Launch, folder: Path, signals: Signals
    ) -> None:
        self.plan, self.told, self.tracker, self._signals = plan, told, tracker, signals
        self.outcomes: dict[int, Outcome] = {}
        self._launch, self._folder, self._numbers = launch, folder, count()
        self._experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
        self._epochs = {job.number: _epochs(job) for job in plan.jobs}
        self.reused: dict[int, Any] = {}  # job -> the run that had been made before
        self._before: set[int] = set()  # jobs whose run has ended before this process began, and goes on
        self.end = Table([], plan.metric, plan.mode)  # what all has come to; see finish
        self._answers = True  # whether the store does
        self._lock = threading.Lock()  # around _before, and the tracker, which is made for one thread

    def run(self, jobs: list[Job]) -> list[Outcome]:
        """Run these jobs, of which those that are FINISHED already are left out. New ones are noted first."""
        new = [job for job in jobs if job.number not in self._epochs]
        if new:
            self.plan.jobs += new
            self._epochs |= {job.number: _epochs(job) for job in new}
            self.keep({manifest.NAME: self.plan.text()})
        left = [job for job in jobs if job.number not in self.outcomes]
        with self._signals.at_once():
            for outcome in self._launch(left, self.told) if left else []:
                self.outcomes[outcome.number] = outcome
        return [self.outcomes[job.number] for job in jobs]

    def table(self) -> Table:
        """How all jobs stand."""
        found = rows.children(self.tracker.client, self._experiment, self.tracker.run_id)
        with self._lock:
            gone = {number for number in self._before if number not in found}  # deleted from the store meanwhile
            self._before = {n for n in self._before - gone if found[n].info.status != "RUNNING"}
            runs = {number: run for number, run in found.items() if number not in self._before}
        return self._table(runs)

    def finish(self) -> None:
        """The last table into `end`; where the store does not answer, by what the jobs themselves have told."""
        try:
            self.end = self.table()
        except Exception as error:  # whatever a store or its driver raises
            why = first_line(error)
            terminal.say(f"the table tells what the jobs have told, for the store does not: {why}")
            self._answers, self.end = False, self._table({})

    def take_up(self) -> None:
        """Of a sweep that goes on: what is FINISHED is not run again, and what is not waits for its turn."""
        for row in self.table().rows:
            if row.status == "FINISHED":
                self.outcomes[row.number] = _outcome(row)
            elif row.run_id:
                self._before.add(row.number)

    def reuse(self, folders: list[Path]) -> None:
        """Of jobs that have no run yet: those that a run of this experiment has trained already are not run again.

        folders: where `experiments` modules are.
        """
        new = [job for job in self.plan.jobs if not job.run_id]
        self.reused = rows.finished(self.tracker.client, self._experiment, _digests(new, folders))
        told = rows.rows(self.plan.jobs, self._epochs, self.reused, {}, self.plan.metric)
        for row in [row for row in told if row.number in self.reused]:
            self.outcomes[row.number] = _outcome(row)

    def leave(self, numbers: Iterable[int]) -> None:
        """Of a sweep that goes on: these jobs are over, though they are not FINISHED, and nobody waits for them."""
        with self._lock:
            self._before -= set(numbers)

    def keep(self, texts: dict[str, str]) -> None:
        """Text files for the parent run."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        self.record(Kept(folder))

    def keep_table(self, table: Table) -> None:
        self.keep({"results.csv": files.csv(table), "results.json": files.mlflow_table(table)})

    def keep_plots(self, table: Table) -> None:
        """The pictures of the sweep. One that cannot be drawn is named on standard error; the others are kept."""
        folder = self._folder / str(next(self._numbers))
        (folder / "plots").mkdir(parents=True)
        curves = self.curves(table)
        for name in plots.names():
            path = folder / "plots" / f"{name}.png"
            try:
                if (figure := plots.draw(name, table, curves)) is not None:
                    save(figure, path)
            except Exception as error:  # of matplotlib, or of values that nobody has thought of
                path.unlink(missing_ok=True)
                why = f"{type(error).__name__}: {first_line(error)}"
                terminal.say(f"the sweep's plot {name} cannot be drawn: {why}")
        self.record(Kept(folder))

    def curves(self, table: Table) -> dict[int, list[tuple[int, float]]]:
        """Job -> (step, value) of the metric that jobs are ranked by."""
        found = {}
        for row in table.rows:
            if row.number in self.outcomes and self.outcomes[row.number].curve:
                found[row.number] = self.outcomes[row.number].curve
            elif row.run_id and self._answers:
                found[row.number] = self._curve(row)
        return found

    def _curve(self, row: Row) -> list[tuple[int, float]]:
        try:
            points = self.tracker.client.get_metric_history(row.run_id, self.plan.metric)
        except Exception as error:  # whatever a store or its driver raises
            self._answers = stores.is_missing(error)  # what does not answer once is not asked for every job
            why = first_line(error)
            terminal.say(f"the curve of job {row.number} is not in the plots: {why}")
            return []
        return [(point.step, point.value) for point in points]

    def record(self, event: Event) -> None:
        """For the parent run."""
        with self._lock:
            self.tracker.record(event)

    def _table(self, runs: dict[int, Any]) -> Table:
        told = rows.rows(self.plan.jobs, self._epochs, runs, dict(self.outcomes), self.plan.metric)
        return Table(told, self.plan.metric, self.plan.mode, self.plan.objectives)


def _outcome(row: Row) -> Outcome:
    """Of a job whose run the store has from before."""
    return Outcome(row.number, row.run_id, row.status, row.value, row.metrics, [], row.epoch, row.pruned)


def _digests(jobs: list[Job], folders: list[Path]) -> dict[int, str]:
    return {job.number: digest(job.config, folders) for job in jobs}


def _epochs(job: Job) -> int:
    return made(job.config).trainer.epochs
