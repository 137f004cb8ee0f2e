"""A sweep while its jobs run: their outcomes, its table, and its files in the parent run."""

import json
import threading
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.plots import save
from runner.settings import made
from runner.settings.errors import first_line, labelled
from runner.settings.trust import terminal
from runner.sweeps import manifest
from runner.sweeps.digest import digest
from runner.sweeps.manifest import Job, Manifest
from runner.sweeps.report import comparison, files, out_of_fold, plots, repeats, rows
from runner.sweeps.report.table import Row, Table
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.outcome import Outcome
from runner.tracking.store import stores
from runner.training.events import Artifacts, Event
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.tracking.write.tracker import Tracker

#: Runs jobs, here or elsewhere, and returns when all of them have ended.
Launch = Callable[[list[Job], SweepInfo], list[Outcome]]


class Sweep:
    """Jobs of a sweep and their outcomes.

    `run` may be called several times, each time with further jobs. A Board reads `table` from a thread of its own.
    """

    def __init__(
        self, plan: Manifest, info: SweepInfo, tracker: "Tracker", launch: Launch, folder: Path, signals: Signals
    ) -> None:
        self.plan, self.info, self.tracker, self._signals = plan, info, tracker, signals
        self.outcomes: dict[int, Outcome] = {}
        self._launch, self._folder, self._numbers = launch, folder, count()
        self._experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
        self._epochs = {job.number: _epochs(job) for job in plan.jobs}
        self.reused: dict[int, Any] = {}  # job -> an earlier run with the same digest
        self._before: set[int] = set()  # jobs whose run ended before this process started, and will continue
        self.end = Table([], plan.metric, plan.mode)  # the last table; see finish
        self._answers = True  # whether the store answers
        self._lock = threading.Lock()  # around _before, and around the tracker, which serves one thread

    def run(self, jobs: list[Job]) -> list[Outcome]:
        """Run those of these jobs that have no outcome yet, and return the outcomes of all of them.

        Jobs that are not in the manifest yet are added to it before they start.
        """
        new = [job for job in jobs if job.number not in self._epochs]
        if new:
            self.plan.jobs += new
            self._epochs |= {job.number: _epochs(job) for job in new}
            self.keep({manifest.NAME: self.plan.text()})
        remaining = [job for job in jobs if job.number not in self.outcomes]
        with self._signals.at_once():
            for outcome in self._launch(remaining, self.info) if remaining else []:
                self.outcomes[outcome.number] = outcome
        return [self.outcomes[job.number] for job in jobs]

    def table(self) -> Table:
        """Return the current table of all jobs, as the store has them."""
        children = rows.children(self.tracker.client, self._experiment, self.tracker.run_id)
        with self._lock:
            gone = {number for number in self._before if number not in children}  # deleted from the store meanwhile
            self._before = {n for n in self._before - gone if children[n].info.status != "RUNNING"}
            runs = {number: run for number, run in children.items() if number not in self._before}
        return self._table(runs)

    def finish(self) -> None:
        """Set `end` to the last table; where the store does not answer, to one made of the outcomes alone."""
        try:
            self.end = self.table()
        except Exception as error:  # whatever a store or its driver raises
            reason = first_line(error)
            terminal.say(f"the table is made of what the jobs reported, because the store does not answer: {reason}")
            self._answers, self.end = False, self._table({})

    def take_up(self) -> None:
        """Prepare a sweep that continues: FINISHED jobs are not run again, all others are WAITING until they start."""
        for row in self.table().rows:
            if row.status == "FINISHED":
                self.outcomes[row.number] = _outcome(row)
            elif row.run_id:
                self._before.add(row.number)

    def reuse(self, folders: list[Path]) -> None:
        """Take the outcomes of jobs without a run from FINISHED runs of this experiment with the same digest.

        folders: where `experiments` modules are.
        """
        new = [job for job in self.plan.jobs if not job.run_id]
        digests = {job.number: digest(job.config, folders) for job in new}
        self.reused = rows.finished(self.tracker.client, self._experiment, digests)
        table = rows.rows(self.plan.jobs, self._epochs, self.reused, {}, self.plan.metric)
        for row in [row for row in table if row.number in self.reused]:
            self.outcomes[row.number] = _outcome(row)

    def leave(self, numbers: Iterable[int]) -> None:
        """Show these jobs of a sweep that continues as they ended: they will not run again."""
        with self._lock:
            self._before -= set(numbers)

    def keep(self, texts: dict[str, str]) -> None:
        """Add text files, name -> content, to the artifacts of the parent run."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        self.record(Artifacts(folder))

    def keep_table(self, table: Table) -> None:
        """Add the table as CSV and as MLflow's table to the artifacts of the parent run."""
        self.keep({"results.csv": files.csv(table), "results.json": files.mlflow_table(table)})

    def keep_means(self, table: Table, compared: dict[str, Any]) -> None:
        """Add means over seeds and folds to the parent run; over folds, the best combination's predictions too.

        compared: their comparison.
        """
        self.keep({repeats.name(table): repeats.csv(table), comparison.JSON: json.dumps(compared, indent=2) + "\n"})
        one = table.best_combination
        if one is None or not table.folded:
            return
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        try:
            why = out_of_fold.write(self.tracker.client, one, folder)
        except Exception as error:  # whatever a store or its driver raises, or a file that is damaged
            why = first_line(error)
        if why:
            terminal.say(f"there are no out-of-fold predictions: {why}")
        else:
            self.record(Artifacts(folder))

    def keep_plots(self, table: Table) -> None:
        """Add the plots of the sweep to the parent run. One that cannot be drawn is reported on standard error."""
        folder = self._folder / str(next(self._numbers))
        (folder / "plots").mkdir(parents=True)
        curves = self.curves(table)
        for name in plots.names():
            path = folder / "plots" / f"{name}.png"
            try:
                if (figure := plots.draw(name, table, curves)) is not None:
                    save(figure, path)
            except Exception as error:  # from matplotlib, or for values that no plot expects
                path.unlink(missing_ok=True)
                reason = labelled(error)
                terminal.say(f"the sweep's plot {name} cannot be drawn: {reason}")
        self.record(Artifacts(folder))

    def curves(self, table: Table) -> dict[int, list[tuple[int, float]]]:
        """Return job number -> [(step, value), ...] of the metric that jobs are ranked by."""
        curves = {}
        for row in table.rows:
            if row.number in self.outcomes and self.outcomes[row.number].curve:
                curves[row.number] = self.outcomes[row.number].curve
            elif row.run_id and self._answers:
                curves[row.number] = self._curve(row)
        return curves

    def _curve(self, row: Row) -> list[tuple[int, float]]:
        try:
            points = self.tracker.client.get_metric_history(row.run_id, self.plan.metric)
        except Exception as error:  # whatever a store or its driver raises
            self._answers = stores.is_missing(error)  # a store that does not answer is not asked for each job
            terminal.say(f"the curve of job {row.number} is not in the plots: {first_line(error)}")
            return []
        return [(point.step, point.value) for point in points]

    def record(self, event: Event) -> None:
        """Record an event in the parent run; safe to call from several threads."""
        with self._lock:
            self.tracker.record(event)

    def _table(self, runs: dict[int, Any]) -> Table:
        table = rows.rows(self.plan.jobs, self._epochs, runs, dict(self.outcomes), self.plan.metric)
        return Table(table, self.plan.metric, self.plan.mode, self.plan.objectives)


def _outcome(row: Row) -> Outcome:
    """Return the outcome of a job whose run ended before this process started."""
    return Outcome(row.number, row.run_id, row.status, row.value, row.metrics, [], row.epoch, row.pruned)


def _epochs(job: Job) -> int:
    return made({key: value for key, value in job.config.items() if key == "trainer"}).trainer.epochs or 0
