"""A sweep from its first job to its last: one parent run around all of them, and the truth at its end."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import places, recall, reconcile, secrets, stores, tracking
from runner.errors import ConfigError
from runner.events import Finished, Kept
from runner.plots import save
from runner.settings import Settings, made
from runner.signals import Interrupted, Signals
from runner.spool import Undelivered
from runner.sweep import files, manifest, plots, rows, screen, summary
from runner.sweep.board import Board
from runner.sweep.digest import digest
from runner.sweep.job import Told
from runner.sweep.manifest import Job, Manifest
from runner.sweep.outcome import Outcome
from runner.sweep.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from runner.tracker import Tracker

#: Runs jobs, here or elsewhere, and returns when all of them have ended.
Launch = Callable[[list[Job], Told], list[Outcome]]


class Sweep:
    """Jobs under way and what has become of them. `run` may be called again and again with further jobs."""

    def __init__(
        self, plan: Manifest, told: Told, tracker: "Tracker", launch: Launch, folder: Path, signals: Signals
    ) -> None:
        self.plan, self.told, self.tracker, self._signals = plan, told, tracker, signals
        self.outcomes: dict[int, Outcome] = {}
        self._launch, self._folder, self._numbers = launch, folder, count()
        self._experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
        self._epochs = {job.number: _epochs(job) for job in plan.jobs}
        self.reused: dict[int, Any] = {}  # job -> the run that had been made before
        self._found: dict[int, Any] = {}  # job -> its run, as the store has told it last
        self._before: set[int] = set()  # jobs whose run has ended before this process began, and goes on

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
        return self._of(rows.children(self.tracker.client, self._experiment, self.tracker.run_id))

    def last_table(self) -> Table:
        """The same at the end: if the store does not answer any more, by what it has told before."""
        with stores.if_it_answers():
            return self.table()
        return self._of(self._found)

    def _of(self, found: dict[int, Any]) -> Table:
        self._found = found
        self._before = {number for number in self._before if number in found and found[number].info.status != "RUNNING"}
        runs = {number: run for number, run in found.items() if number not in self._before}
        told = rows.rows(self.plan.jobs, self._epochs, runs, dict(self.outcomes), self.plan.metric)
        return Table(told, self.plan.metric, self.plan.mode, self.plan.objectives)

    def take_up(self) -> None:
        """Of a sweep that goes on: what is FINISHED is not run again, and what is not waits for its turn."""
        for row in self.table().rows:
            if row.status == "FINISHED":
                self.outcomes[row.number] = Outcome(
                    row.number, row.run_id, row.status, row.value, row.metrics, [], row.epoch, row.pruned
                )
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
            self.outcomes[row.number] = Outcome(
                row.number, row.run_id, row.status, row.value, row.metrics, [], row.epoch, row.pruned
            )

    def leave(self, numbers: Iterable[int]) -> None:
        """Of a sweep that goes on: these jobs are over, though they are not FINISHED, and nobody waits for them."""
        self._before -= set(numbers)

    def keep(self, texts: dict[str, str]) -> None:
        """Text files for the parent run."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        self.tracker.record(Kept(folder))

    def keep_table(self, table: Table) -> None:
        self.keep({"results.csv": files.csv(table), "results.json": files.mlflow_table(table)})

    def keep_plots(self, table: Table) -> None:
        """The pictures of the sweep; one that cannot be drawn is said, and takes no other with it."""
        folder = self._folder / str(next(self._numbers))
        (folder / "plots").mkdir(parents=True)
        for name, figure in plots.draw_all(table, self.curves(table)):
            save(figure, folder / "plots" / f"{name}.png")
        self.tracker.record(Kept(folder))

    def curves(self, table: Table) -> dict[int, list[tuple[int, float]]]:
        """Job -> (step, value) of the metric that jobs are ranked by."""
        found = {}
        for row in table.rows:
            if row.number in self.outcomes and self.outcomes[row.number].curve:
                found[row.number] = self.outcomes[row.number].curve
            elif row.run_id:
                with stores.if_it_answers():
                    points = self.tracker.client.get_metric_history(row.run_id, self.plan.metric)
                    found[row.number] = [(point.step, point.value) for point in points]
        return found


@contextlib.contextmanager
def sweeping(
    plan: Manifest, settings: Settings, launch: Launch, console: "Console", words: list[str], run_id: str = ""
) -> Iterator[Sweep]:
    """A parent run around a block that runs jobs. Its table and its screen are kept current; it ends with the truth:
    FINISHED only if every job is.

    settings: of any of the jobs. words: of the command line. run_id: of a sweep to go on with.
    """
    uri, experiment = settings.tracking.uri, settings.tracking.experiment or plan.study
    name, files_ = settings.tracking.run_name or plan.title, {manifest.NAME: plan.text()}
    tags = _tags(plan, settings, words)
    status, table = "FAILED", Table([], plan.metric, plan.mode)
    with tempfile.TemporaryDirectory(prefix="runner-") as folder, Signals() as signals:
        sweep: Sweep | None = None
        try:
            with tracking.recording(uri, experiment, name, tags, {}, files_, run_id or None) as tracker:
                process = tracker.client.get_run(tracker.run_id).data.tags[reconcile.PROCESS]
                told = Told(tracker.run_id, plan.study, plan.metric, uri, process)
                sweep = Sweep(plan, told, tracker, launch, Path(folder), signals)
                if run_id:
                    sweep.take_up()
                if settings.sweep.reuse:
                    sweep.reuse(places.experiments())
                console.print(_where(sweep, uri, experiment), soft_wrap=True)
                shown = screen.watching(console, plan.total)
                try:
                    with Board(sweep.table, shown, sweep.keep_table):
                        yield sweep
                        signals.check()
                except (Interrupted, KeyboardInterrupt):
                    reconcile.reconcile(tracker.client)  # processes of a launcher's have died with it
                    raise
                finally:
                    table = sweep.last_table()
                    shown.close(table)
                    _close(sweep, table)
                tracker.verdict = verdict(table)
            status = tracker.verdict[0]
        except BaseException as error:
            status = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
            status = error.status if isinstance(error, Undelivered) else status
            raise
        finally:
            if sweep is not None:
                _tell(sweep, status, table, console)


def verdict(table: Table) -> tuple[str, str]:
    """The sweep's status, and why."""
    wrong = [row for row in table.rows if row.status != "FINISHED"]
    if not wrong:
        return "FINISHED", f"{len(table.rows)} of {len(table.rows)} jobs are FINISHED"
    told = "; ".join(f"job {row.number} {row.status}: {row.reason}" for row in wrong[:5])
    return "FAILED", f"{len(wrong)} of {len(table.rows)} jobs are not FINISHED: {told}"


def recorded(uri: str, run_id: str) -> Manifest:
    """The manifest of a recorded sweep, each job with the run that it has.

    Raises ConfigError while one of its jobs is still at work.
    """
    found = manifest.read(recall.text(uri, run_id, manifest.NAME))
    for number, run in _refuse_live(uri, run_id).items():
        for job in found.jobs:
            if job.number == number:
                job.run_id = run.info.run_id
    return found


def again(uri: str, run: str) -> tuple[list[str], str]:
    """(the words by which the sweep `run` goes on, empty if it is a single run; why there is nothing to go on with).

    Of `last`, the newest run, the sweep that it is a job of, if that has not come to its end.
    """
    from runner.commands.resume import deliver

    run_id = recall.find(uri, run)
    parent = recall.facts(uri, run_id)[1].get(rows.PARENT)
    if run == "last" and parent and recall.facts(uri, parent)[0] != "FINISHED":
        run_id = parent
    status, tags, _ = recall.facts(uri, run_id)
    if "sweep.jobs" not in tags:
        return [], ""
    if status == "FINISHED":
        return [], f"sweep {run_id} is FINISHED: there is nothing left of its {tags['sweep.jobs']} jobs"
    if status == "RUNNING":
        raise ConfigError("", f"sweep {run_id} is RUNNING: its process is still at work, or was on another machine")
    _refuse_live(uri, run_id)
    deliver(uri, run_id)
    return [*manifest.read(recall.text(uri, run_id, manifest.NAME)).launcher, f"sweep.resume={run_id}"], ""


def newest(uri: str, experiment: str) -> str:
    """The id of the newest sweep of an experiment. Raises ConfigError if there is none."""
    client = stores.open_store(uri)
    found = client.get_experiment_by_name(experiment)
    ids = [found.experiment_id] if found else []
    runs = client.search_runs(ids, "tags.`sweep.jobs` != ''", max_results=1, order_by=["attributes.start_time DESC"])
    if not runs:
        raise ConfigError("sweep.resume", f"there is no sweep in experiment {experiment!r} of {uri}")
    return str(runs[0].info.run_id)


def _refuse_live(uri: str, run_id: str) -> dict[int, Any]:
    """The runs of the sweep's jobs, none of which may be at work: a launcher's processes may outlive the sweep's."""
    found = _children(uri, run_id)
    for number, run in found.items():
        if run.info.status == "RUNNING":
            who = reconcile.owner(run)
            raise ConfigError(
                "",
                f"job {number} of sweep {run_id} is still at work, in process {who.get('pid')} on {who.get('host')};"
                " wait for its end, or stop it",
            )
    return found


def _children(uri: str, run_id: str) -> dict[int, Any]:
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    return rows.children(client, client.get_run(run_id).info.experiment_id, run_id)


def _close(sweep: Sweep, table: Table) -> None:
    best = table.best
    sweep.keep_table(table)
    sweep.keep_plots(table)
    tags = {"sweep.finished": str(len(table.having("FINISHED")))}
    if sweep.reused:
        told = {f"job {number}": run.info.run_id for number, run in sweep.reused.items()}
        tags |= {"sweep.reused": json.dumps(told)}
    if best is not None:
        tags |= {
            "sweep.best": best.run_id,
            "sweep.best_value": repr(best.value),
            "sweep.best_command": _again(sweep, best),
        }
    if table.front:
        tags["sweep.front"] = ",".join(row.run_id for row in table.front)
    sweep.tracker.record(Finished(0, {}, "", tags))


def _again(sweep: Sweep, row: Any) -> str:
    return next((job.command for job in sweep.plan.jobs if job.number == row.number), "")


def _tell(sweep: Sweep, status: str, table: Table, console: "Console") -> None:
    best = table.best
    summary.summary(console, table, _again(sweep, best) if best and not table.front else "")
    for row in table.front:
        console.print(f"on the front, job {row.number}: {_again(sweep, row)}", soft_wrap=True, markup=False)
    if status != "FINISHED":
        print(f"to go on with it: runner resume {sweep.told.parent[:8]}")
    if any(outcome.undelivered for outcome in sweep.outcomes.values()):
        print("the store does not know all of it; to deliver the rest, in this directory: runner sync")
    print(summary.result(sweep.told.parent, status, best), flush=True)


def _where(sweep: Sweep, uri: str, experiment: str) -> str:
    told = f"sweep {sweep.told.parent} of {sweep.plan.total} jobs in experiment {experiment!r}"
    done, reused = len(sweep.outcomes), len(sweep.reused)
    other = f", {reused} of them by runs that are reused" if reused else ""
    return f"{told} of {secrets.masked(uri)}" + (f"; {done} are FINISHED already{other}" if done else "")


def _tags(plan: Manifest, settings: Settings, words: list[str]) -> dict[str, str]:
    from runner import build, environment

    told = environment.tags([secrets.masked(word) for word in words], build.device(settings.device))
    return {**told, "sweep.jobs": str(plan.total), **dict([files.TAG])}


def _digests(jobs: list[Job], folders: list[Path]) -> dict[int, str]:
    return {job.number: digest(job.config, folders) for job in jobs}


def _epochs(job: Job) -> int:
    return made(job.config).trainer.epochs
