"""The parent run of a sweep: its table and screen while jobs run, its status, tags and summary at the end."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings import Settings
from runner.settings import Sweep as SweepSettings
from runner.settings.context import LONGEST
from runner.settings.errors import first_line
from runner.settings.files import filenames, places
from runner.settings.trust import secrets, terminal
from runner.sweeps import manifest, recorded
from runner.sweeps.manifest import Manifest
from runner.sweeps.report import comparison, files, repeats, rows, screen, summary
from runner.sweeps.report.table import SEED, Row, Table
from runner.sweeps.report.watch import Board
from runner.sweeps.run import keeping
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.under_way import Launch, Sweep
from runner.tracking import pages, recording
from runner.tracking.store import reconcile
from runner.tracking.write.spool import Undelivered
from runner.training.events import Finished
from runner.training.machine.signals import Interrupted, Signals

if TYPE_CHECKING:
    from rich.console import Console

    from runner.tracking.write.tracker import Tracker


#: Characters of a tag; MLflow's limit.
LONGEST_TAG = 5000


@contextlib.contextmanager
def sweeping(
    plan: Manifest, settings: Settings, launch: Launch, console: "Console", words: list[str], run_id: str = ""
) -> Iterator[Sweep]:
    """Open a parent run around a block that runs jobs, and keep its table and the screen current.

    The parent run is FINISHED only if every job is.
    settings: those of any job. words: the command line. run_id: the parent run of a sweep to continue, or "".
    """
    uri, experiment = settings.tracking.uri, settings.tracking.experiment or plan.study
    name = filenames.bounded(settings.tracking.run_name or plan.title, LONGEST)
    files_ = {manifest.NAME: plan.text()}
    tags, status = _tags(plan, settings, words), "FAILED"
    with tempfile.TemporaryDirectory(prefix="runner-") as folder, Signals() as signals:
        sweep: Sweep | None = None
        try:
            with recording.recording(uri, experiment, name, tags, {}, files_, run_id or None) as tracker:
                sweep = Sweep(plan, _info(plan, uri, tracker), tracker, launch, Path(folder), signals)
                if run_id:
                    sweep.take_up()
                if settings.sweep.reuse:
                    sweep.reuse(places.experiments())
                console.print(_where(sweep, uri, experiment), soft_wrap=True)
                with _watched(sweep, console, settings.sweep):
                    yield sweep
                    signals.check()
                tracker.verdict = verdict(sweep.end)
            status = tracker.verdict[0]
        except BaseException as error:
            status = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
            status = error.status if isinstance(error, Undelivered) else status
            raise
        finally:
            if sweep is not None:
                _print_end(sweep, status, console)


def verdict(table: Table) -> tuple[str, str]:
    """Return the sweep's status, FINISHED or FAILED, and the reason."""
    wrong = [row for row in table.rows if row.status != "FINISHED"]
    if not wrong:
        return "FINISHED", f"{len(table.rows)} of {len(table.rows)} jobs are FINISHED"
    reasons = "; ".join(f"job {row.number} {row.status}: {row.reason}" for row in wrong[:5])
    return "FAILED", f"{len(wrong)} of {len(table.rows)} jobs are not FINISHED: {reasons}"


def _info(plan: Manifest, uri: str, tracker: "Tracker") -> SweepInfo:
    process = tracker.client.get_run(tracker.run_id).data.tags[reconcile.PROCESS]
    keys = set(plan.search["space"]) if plan.search else {key for job in plan.jobs for key in job.varied}
    over_seeds = SEED in keys and len(keys) > 1
    return SweepInfo(tracker.run_id, plan.study, plan.metric, uri, process, plan.mode, over_seeds)


@contextlib.contextmanager
def _watched(sweep: Sweep, console: "Console", settings: SweepSettings) -> Iterator[None]:
    """Keep the screen and the parent's table current while the block runs, and complete them after it."""
    display = screen.watching(console, max(sweep.plan.numbered, sweep.plan.total))
    try:
        with Board(sweep.table, display, sweep.keep_table):
            yield
    except (Interrupted, KeyboardInterrupt):
        with contextlib.suppress(Exception):  # a store that does not answer: the next command ends them
            reconcile.reconcile(sweep.tracker.client)  # the launcher's processes have died with this one
        raise
    finally:
        sweep.finish()
        display.close(sweep.end)
        _record_end(sweep, sweep.end, settings.plots)
        _clear(sweep, settings.keep)


def _record_end(sweep: Sweep, table: Table, with_plots: bool) -> None:
    best, compared = table.best, comparison.plain(table) if comparison.applies(table) else None
    tags = {"sweep.finished": str(len(table.having("FINISHED")))}
    if sweep.reused:
        reused = {f"job {number}": run.info.run_id for number, run in sweep.reused.items()}
        tags |= {"sweep.reused": json.dumps(reused)}
    if best is not None:
        tags |= {
            "sweep.best": best.run_id,
            "sweep.best_value": repr(best.value),
            "sweep.best_command": _command(sweep, best),
        }
    if compared is not None:
        tags["sweep.comparison"] = "\n".join(comparison.lines(compared))[:LONGEST_TAG]
    if table.front:
        tags["sweep.front"] = ",".join(row.run_id for row in table.front)
    sweep.record(
        Finished(0, repeats.figures(table), "", tags)
    )  # before the files: one that cannot be written must not lose the tags
    sweep.keep_table(table)
    if compared is not None:
        sweep.keep_means(table, compared)
    if with_plots:
        sweep.keep_plots(table)


def _clear(sweep: Sweep, keep: str) -> None:
    try:
        keeping.clear(sweep.tracker.client, sweep.info, keep, sweep.end)
    except Exception as error:  # whatever a store or its driver raises
        terminal.say(f"files that sweep.keep={keep} does not keep are still there: {first_line(error)}")


def _command(sweep: Sweep, row: Row) -> str:
    return next((job.command for job in sweep.plan.jobs if job.number == row.number), "")


def _print_end(sweep: Sweep, status: str, console: "Console") -> None:
    table, best = sweep.end, sweep.end.best
    command = _command(sweep, best) if best and not table.front else ""
    summary.summary(console, table, command, _notes(sweep, table))
    for row in table.front:
        console.print(f"on the front, job {row.number}: {_command(sweep, row)}", soft_wrap=True, markup=False)
    if status != "FINISHED":
        terminal.put(f"to continue it: runner resume {sweep.info.parent[:8]}")
    if any(outcome.undelivered for outcome in sweep.outcomes.values()):
        terminal.put("not all of it is in the store yet; to deliver the rest, in this directory: runner sync")
    terminal.put(f"to see it: {pages.seen(sweep.info.uri, sweep.info.parent, sweep.tracker.experiment_id)}")
    line = repeats.result(sweep.info.parent, status, table) if table.folded else None
    terminal.put(line or summary.result(sweep.info.parent, status, best))


def _notes(sweep: Sweep, table: Table) -> list[str]:
    """Return the lines on how the best differs from the others; of one job, and of a search without seeds, none."""
    one_seed_each = not table.over and sweep.plan.search is None and len(table.having("FINISHED")) > 1
    return comparison.lines(comparison.plain(table)) if comparison.applies(table) or one_seed_each else []


def _where(sweep: Sweep, uri: str, experiment: str) -> str:
    shown = secrets.masked(experiment)
    place = f"sweep {sweep.info.parent} of {sweep.plan.total} jobs in experiment {shown!r} of {secrets.masked(uri)}"
    done, reused = len(sweep.outcomes), len(sweep.reused)
    other = f", {reused} of them by runs that are reused" if reused else ""
    return place + (f"; {done} are FINISHED already{other}" if done else "")


def _tags(plan: Manifest, settings: Settings, words: list[str]) -> dict[str, str]:
    from runner.tracking import environment
    from runner.training.parts.device import device

    typed = [secrets.word(word) for word in words if word not in ("-m", "--multirun")]
    tags = environment.tags(typed, device(settings.device))
    anew = recorded.running_anew()
    return {**tags, rows.JOBS: str(plan.total), **dict([files.TAG]), **(anew.tags() if anew else {})}
