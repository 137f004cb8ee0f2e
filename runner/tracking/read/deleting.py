"""Runs that are deleted, and brought back: a sweep with its jobs. Their files stay until `runner clean`."""

from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.tracking.read import plain, recall
from runner.tracking.store import search, stores
from runner.tracking.write import spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tag of a job that was deleted together with its sweep: the sweep's id. One that was deleted before is left deleted.
WITH = "runner.deleted_with"


def delete(uri: str, words: list[str]) -> list[dict[str, Any]]:
    """Delete runs, each sweep with its jobs. Returns id, name, kind and jobs (their ids) of each run.

    words: ids, beginnings of them, or `last`. All are looked at before the first one is deleted.
    Raises ConfigError for a run that is at work, or of which a part waits for the store.
    """
    client = recall.existing(uri)
    chosen = list(dict.fromkeys(recall.find(uri, word) for word in words))
    runs = [client.get_run(run_id) for run_id in chosen]
    jobs = {run.info.run_id: _jobs(client, run) for run in runs}
    for one in [one for run in runs for one in (run, *jobs[run.info.run_id])]:
        _check(uri, one)
    for run in runs:
        for job in jobs[run.info.run_id]:
            client.set_tag(job.info.run_id, WITH, run.info.run_id)
            client.delete_run(job.info.run_id)
        if run.info.run_id not in {job.info.run_id for others in jobs.values() for job in others}:
            client.delete_run(run.info.run_id)
    return [_plain(run, jobs[run.info.run_id]) for run in runs]


def restore(uri: str, words: list[str]) -> list[dict[str, Any]]:
    """Bring deleted runs back, a sweep with the jobs that were deleted with it. Returns what `delete` does.

    Raises ConfigError for a word that means no deleted run, or several.
    """
    client = recall.existing(uri)
    runs = list({(run := _find(client, uri, word)).info.run_id: run for word in words}.values())
    restored = []
    for run in runs:
        parent = run.info.run_id
        jobs = _deleted(client, f"tags.`{WITH}` = '{parent}'") if plain.JOBS in run.data.tags else []
        for one in (run, *jobs):
            client.restore_run(one.info.run_id)
            if WITH in one.data.tags:
                client.delete_tag(one.info.run_id, WITH)
        restored.append(_plain(run, jobs))
    return restored


def deleted(uri: str) -> list[dict[str, Any]]:
    """Return the deleted runs of a store that can be brought back, without the jobs of deleted sweeps."""
    client = recall.existing(uri)
    return [_plain(run, []) for run in _deleted(client) if WITH not in run.data.tags]


def _jobs(client: "MlflowClient", run: "Run") -> list["Run"]:
    if plain.JOBS not in run.data.tags:
        return []
    return _all(client, [run.info.experiment_id], f"tags.`{plain.PARENT}` = '{run.info.run_id}'", False)


def _check(uri: str, run: "Run") -> None:
    run_id = run.info.run_id
    if run.info.status in ("RUNNING", "SCHEDULED"):
        raise ConfigError("", f"run {run_id} is {run.info.status}, and stays; stop it, or wait for its end")
    if (spool.place(uri) / run_id).exists():
        raise ConfigError("", f"a part of the record of run {run_id} has yet to be delivered: runner sync")


def _find(client: "MlflowClient", uri: str, word: str) -> "Run":
    runs = [run for run in _deleted(client) if word and run.info.run_id.startswith(word)]
    if len(runs) == 1:
        return runs[0]
    ids = ", ".join(run.info.run_id[:12] for run in runs)
    problem = f"is the beginning of {ids}; give more of it" if runs else "is the id of no deleted run"
    shown = secrets.masked_uri(uri)
    raise ConfigError("", f"{word!r} {problem} in {shown}; `runner restore` lists those that there are")


def _deleted(client: "MlflowClient", condition: str = "") -> list["Run"]:
    return _all(client, [e.experiment_id for e in client.search_experiments()], condition, True)


def _all(client: "MlflowClient", experiments: list[str], condition: str, is_deleted: bool) -> list["Run"]:
    from mlflow.entities import ViewType

    view, runs, token = ViewType.DELETED_ONLY if is_deleted else ViewType.ACTIVE_ONLY, list["Run"](), None
    while experiments:
        page = client.search_runs(experiments, condition, view, max_results=search.PAGE, page_token=token)
        runs += page
        if not (token := page.token):
            break
    return runs


def _plain(run: "Run", jobs: list["Run"]) -> dict[str, Any]:
    row = stores.row(run, {})
    facts = plain.run(row)
    name = record_reading.line(facts["name"])
    return {"id": row.run_id, "name": name, "kind": facts["kind"], "jobs": [job.info.run_id for job in jobs]}
