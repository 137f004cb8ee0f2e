"""Sweeps that the store knows: what goes on with one, what was going to be run, and whether it is at work."""

from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.sweep import manifest
from runner.sweep.manifest import Manifest
from runner.sweep.report import rows
from runner.tracking import own_code, recorded_code
from runner.tracking.read import recall
from runner.tracking.store import reconcile, stores

#: The key that chooses a launcher.
LAUNCHER = "hydra/launcher"
#: What was typed as code=... for the sweep that this process goes on with; see recorded_code.take_up.
code = [""]


def plan(uri: str, run_id: str) -> Manifest:
    """The manifest of a recorded sweep, each job with the run that it has.

    Raises ConfigError while one of its jobs is still at work, and where files of one's own are others than theirs.
    """
    found, children = manifest.read(recall.text(uri, run_id, manifest.NAME)), _refuse_live(uri, run_id)
    codes = {run.data.tags.get(own_code.TAG): run.info.run_id for run in children.values()}
    recorded_code.take_up(uri, [codes[sha256] for sha256 in codes if sha256], code[0], f"sweep {run_id}")
    for number, run in children.items():
        for job in found.jobs:
            if job.number == number:
                job.run_id = run.info.run_id
    return found


def again(uri: str, run: str, words: list[str]) -> tuple[list[str], str]:
    """(the words by which the sweep `run` goes on, empty if it is a single run; why there is nothing left to do).

    Raises ConfigError for `words` that change what a single run goes on with, if it is a sweep.
    """
    from runner.tracking.recording import deliver

    run_id = recall.find(uri, run)
    status, tags, _ = recall.facts(uri, run_id)
    if rows.JOBS not in tags:
        return [], ""
    recall.say_last(run, recall.run(uri, run_id))
    for word in words:
        if not word.lstrip("+").startswith(("hydra", "code=")):
            best = record_reading.line(tags.get("sweep.best", "RUN"))
            raise ConfigError(
                "",
                f"{word}: a sweep goes on as it was recorded; only hydra/launcher=... and its values can be changed;"
                f" one of its jobs by itself: runner resume {best} {word}",
            )
    if status == "RUNNING":
        raise ConfigError("", f"sweep {run_id} is RUNNING: its process is still at work, or was on another machine")
    _refuse_live(uri, run_id)
    deliver(uri, run_id)
    code[0] = next((word.partition("=")[2] for word in words if word.startswith("code=")), "")
    over = f"sweep {run_id} is FINISHED: there is nothing left of its {record_reading.line(tags[rows.JOBS])[:20]} jobs"
    over = over if status == "FINISHED" else ""
    return [*_launcher(manifest.read(recall.text(uri, run_id, manifest.NAME))), f"sweep.resume={run_id}"], over


def _launcher(plan: Manifest) -> list[str]:
    """The words of the record that choose and set up a launcher and a sweeper. Raises ConfigError for any other."""
    for word in plan.launcher:
        if not str(word).lstrip("+").startswith(("hydra/launcher=", "hydra/sweeper=", "hydra.launcher.")):
            raise ConfigError("sweep.resume", f"the record's {word!r} sets up no launcher; begin another sweep")
    return list(map(str, plan.launcher))


def without(recorded: list[str], typed: list[str]) -> list[str]:
    """The recorded words less those of the same key that were typed, and less the values of another launcher."""
    keys = [_key(word) for word in typed]
    other = any(_key(word) == LAUNCHER and word not in recorded for word in typed)
    left = [word for word in recorded if _key(word) not in keys]
    return [word for word in left if not (other and _key(word).startswith(f"{LAUNCHER.replace('/', '.')}."))]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def newest(uri: str, experiment: str) -> str:
    """The id of the newest sweep of an experiment. Raises ConfigError if there is none."""
    client = stores.open_store(uri)
    found = client.get_experiment_by_name(secrets.masked(experiment))
    ids = [found.experiment_id] if found else []
    runs = client.search_runs(ids, f"tags.`{rows.JOBS}` != ''", max_results=1, order_by=["attributes.start_time DESC"])
    if not runs:
        raise ConfigError("sweep.resume", f"there is no sweep in experiment {experiment!r} of {uri}")
    return record_reading.run_id(runs[0].info.run_id)


def _refuse_live(uri: str, run_id: str) -> dict[int, Any]:
    """The runs of the sweep's jobs, none of which may be at work: a launcher's processes may outlive the sweep's."""
    found = _children(uri, run_id)
    for number, run in found.items():
        if run.info.status == "RUNNING":
            who = reconcile.owner(run)
            host = record_reading.line(who.get("host"))
            raise ConfigError(
                "",
                f"job {number} of sweep {run_id} is still at work, in process {who.get('pid')} on {host};"
                " wait for its end, or stop it",
            )
    return found


def _children(uri: str, run_id: str) -> dict[int, Any]:
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    return rows.children(client, client.get_run(run_id).info.experiment_id, run_id)
