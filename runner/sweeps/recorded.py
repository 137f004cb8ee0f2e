"""Recorded sweeps: the manifest of one and the command line that continues it."""

import shlex
from dataclasses import dataclass
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.sweeps import manifest
from runner.sweeps.manifest import Manifest
from runner.sweeps.report import rows
from runner.tracking import own_code, recorded_code
from runner.tracking.read import recall, whole
from runner.tracking.store import reconcile, stores

#: The key that selects a launcher.
LAUNCHER = "hydra/launcher"
#: Value typed as code=... for the sweep that this process continues; see recorded_code.take_up.
code = [""]
#: What was typed to run a recorded sweep anew in this process; see `anew`.
_anew: list["Anew"] = []


@dataclass(frozen=True)
class Anew:
    """A recorded sweep that is run anew, as another sweep."""

    run_id: str
    overrides: list[str]  # on top of the configuration of each job
    words: list[str]  # with which the recorded one was started, and these

    def tags(self) -> dict[str, str]:
        """Return the tags of the new sweep about the recorded one."""
        return {whole.AGAIN: self.run_id}


def running_anew() -> Anew | None:
    """Return the recorded sweep that this process runs anew; None if it runs none."""
    return _anew[0] if _anew else None


def forget() -> None:
    """Forget the command before, of a process that runs several."""
    code[0] = ""
    _anew.clear()


def anew(uri: str, run: str, words: list[str]) -> list[str]:
    """Return the command line that runs the sweep `run` anew; [] for a run that is no sweep.

    words: typed after `again RUN`. Raises ConfigError for a search, and for an override of what the sweep varies.
    """
    run_id = recall.find(uri, run)
    tags = recall.facts(uri, run_id)[1]
    if rows.JOBS not in tags:
        return []
    recall.say_last(run, recall.run(uri, run_id))
    plan = manifest.read(recall.text(uri, run_id, manifest.NAME))
    typed = whole.typed_with(tags)
    if plan.search is not None:
        raise ConfigError("", f"sweep {run_id} is a search; to search anew: {shlex.join(['runner', '-m', *typed])}")
    overrides = [word for word in words if not word.lstrip("+").startswith(("hydra", "code="))]
    varied = {key for job in plan.jobs for key in job.varied}
    for word in overrides:
        if (key := _key(word)) in varied:
            raise ConfigError(key, f"sweep {run_id} varies it, and {word} gives it one value; leave it out")
    keys = {_key(word) for word in overrides}
    code[0] = next((word.partition("=")[2] for word in words if word.startswith("code=")), "")
    _anew[:] = [Anew(run_id, overrides, [*(word for word in typed if _key(word) not in keys), *overrides])]
    launcher = [word for word in words if word.lstrip("+").startswith("hydra")]
    return [*without(_launcher(plan), launcher), *launcher, f"sweep.resume={run_id}"]


def plan_anew(uri: str, run_id: str) -> Manifest:
    """Return the manifest of a recorded sweep, of which no job has begun, with its own code in use.

    Raises ConfigError where the user's own code is not the recorded code and no choice was typed.
    """
    client = stores.open_store(uri)
    children = rows.children(client, client.get_run(run_id).info.experiment_id, run_id).values()
    with_code = next((run.info.run_id for run in children if own_code.TAG in run.data.tags), "")
    if with_code:
        recorded_code.take(uri, with_code, code[0], f"sweep {run_id}")
    return manifest.read(recall.text(uri, run_id, manifest.NAME))


def plan(uri: str, run_id: str) -> Manifest:
    """Return the manifest of a recorded sweep, each job with the id of its run.

    Raises ConfigError while one of its jobs is running, and where the user's own code is not the recorded code.
    """
    plan, children = manifest.read(recall.text(uri, run_id, manifest.NAME)), _refuse_live(uri, run_id)
    codes = {run.data.tags.get(own_code.TAG): run.info.run_id for run in children.values()}
    recorded_code.take_up(uri, [codes[sha256] for sha256 in codes if sha256], code[0], f"sweep {run_id}")
    for job in plan.jobs:
        if job.number in children:
            job.run_id = children[job.number].info.run_id
    return plan


def again(uri: str, run: str, words: list[str]) -> tuple[list[str], str]:
    """Return the command line that continues the sweep `run`, and why there is nothing left to do.

    The command line is empty for a run that is no sweep, the reason is "" for a sweep that has jobs left.
    words: typed after `resume RUN`. Raises ConfigError for one that changes more of a sweep than its launcher.
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
                f" to continue one of its jobs alone: runner resume {best} {word}",
            )
    if status == "RUNNING":
        raise ConfigError("", f"sweep {run_id} is RUNNING: its process is still at work, or was on another machine")
    _refuse_live(uri, run_id)
    deliver(uri, run_id)
    code[0] = next((word.partition("=")[2] for word in words if word.startswith("code=")), "")
    complete = (
        f"sweep {run_id} is FINISHED: there is nothing left of its {record_reading.line(tags[rows.JOBS])[:20]} jobs"
    )
    complete = complete if status == "FINISHED" else ""
    return [*_launcher(manifest.read(recall.text(uri, run_id, manifest.NAME))), f"sweep.resume={run_id}"], complete


def _launcher(plan: Manifest) -> list[str]:
    """Return the recorded words that set up a launcher and a sweeper. Raises ConfigError for any other word."""
    for word in plan.launcher:
        if not str(word).lstrip("+").startswith(("hydra/launcher=", "hydra/sweeper=", "hydra.launcher.")):
            raise ConfigError("sweep.resume", f"the record's {word!r} sets up no launcher; start another sweep")
    return list(map(str, plan.launcher))


def without(recorded: list[str], typed: list[str]) -> list[str]:
    """Return the recorded words without keys that were typed again and without values of a replaced launcher."""
    keys = [_key(word) for word in typed]
    other = any(_key(word) == LAUNCHER and word not in recorded for word in typed)
    remaining = [word for word in recorded if _key(word) not in keys]
    return [word for word in remaining if not (other and _key(word).startswith(f"{LAUNCHER.replace('/', '.')}."))]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def newest(uri: str, experiment: str) -> str:
    """Return the run id of the newest sweep of an experiment. Raises ConfigError if it has none."""
    client = stores.open_store(uri)
    entity = client.get_experiment_by_name(secrets.masked(experiment))
    ids = [entity.experiment_id] if entity else []
    runs = client.search_runs(ids, f"tags.`{rows.JOBS}` != ''", max_results=1, order_by=["attributes.start_time DESC"])
    if not runs:
        raise ConfigError("sweep.resume", f"there is no sweep in experiment {experiment!r} of {uri}")
    return record_reading.run_id(runs[0].info.run_id)


def _refuse_live(uri: str, run_id: str) -> dict[int, Any]:
    """Return job number -> run of a sweep. Raises ConfigError if a job is running, which may outlive the sweep."""
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    children = rows.children(client, client.get_run(run_id).info.experiment_id, run_id)
    for number, run in children.items():
        if run.info.status == "RUNNING":
            owner = reconcile.owner(run)
            host = record_reading.line(owner.get("host"))
            raise ConfigError(
                "",
                f"job {number} of sweep {run_id} is still at work, in process {owner.get('pid')} on {host};"
                " wait for its end, or stop it",
            )
    return children
