"""The table of runs that a store has, of a sweep or of a whole experiment, without reading any file but a manifest."""

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import record_reading, secrets
from runner.sweeps.digest import IDLE
from runner.sweeps.report import recorded, rows
from runner.sweeps.report.table import FOLD, Row, Table
from runner.tracking.environment import OVERRIDES
from runner.tracking.read import recall, whole
from runner.tracking.store import reconcile, search

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tags with the digest of a run's own code, and before the keys that it was resumed with.
CODE, DRIFT = "runner.code", "drift."
#: Names of experiments and studies.
_NAME = re.compile(r"[\w./-]+")


def read(uri: str, name: str, over: list[str], metric: str = "", mode: str = "") -> tuple[Table, str]:
    """Return the table of all runs of an experiment, of a study, or of a sweep, and in words what it is.

    name: of an experiment of the store; or of a study (`experiments=NAME`), whatever experiments its runs are in; or
        the id of a sweep, a prefix of it, or `last`.
    over: keys whose values are one training again; a fold always is.
    metric, mode: "" for those that most runs were trained with.
    Of runs with the same configuration and the same `over`, the newest FINISHED one counts, or else the newest.
    Raises ConfigError for a name that means nothing, runs without the metric, and a direction that is not recorded.
    """
    client = recall.existing(uri)
    reconcile.reconcile(client)
    repeats = tuple(dict.fromkeys([*over, FOLD]))
    runs = _of_experiment(client, name) or _of_study(client, name)
    if runs:
        metric = metric or _usual_metric(runs)
        table, planned, what = Table(_rows(runs, repeats, metric), metric), "", f"experiment {name!r}"
    else:
        table, runs, planned, what = _of_sweep(uri, client, name, metric)
    if not any(row.value is not None for row in table.rows):
        known = sorted({key for row in table.rows for key in row.metrics})
        raise ConfigError("metric", f"no run of {what} has {table.metric!r}{did_you_mean(table.metric, known)}")
    table.mode, table.repeats = mode or _mode(runs, table.metric, planned), repeats
    return table, what


def _of_experiment(client: "MlflowClient", name: str) -> list["Run"]:
    ids = [e.experiment_id for e in client.search_experiments() if e.name == secrets.masked(name)]
    return _all(client, ids) if ids else []


def _of_study(client: "MlflowClient", name: str) -> list["Run"]:
    if not _NAME.fullmatch(name):
        return []
    word = f"experiments={name}"
    ids = [e.experiment_id for e in client.search_experiments()]
    return [
        run
        for run in _all(client, ids, f"tags.`{OVERRIDES}` LIKE '%{word}%'")
        if word in whole.typed_with(run.data.tags)
    ]


def _all(client: "MlflowClient", ids: list[str], condition: str = "") -> list["Run"]:
    """Return the trainings that match, the newest first."""
    runs: list[Run] = []
    token = None
    while ids:
        page = search.runs(client, ids, condition, order_by=["attributes.start_time DESC"], page_token=token)
        runs += [run for run in page if rows.JOBS not in run.data.tags and "seed" in run.data.params]
        token = page.token
        if not token:
            break
    return runs


def _usual_metric(runs: list["Run"]) -> str:
    """Return what most runs have monitored."""
    monitored = Counter(metric for run in runs if (metric := run.data.tags.get("best.metric")))
    return monitored.most_common(1)[0][0] if monitored else "valid/loss"


def _mode(runs: list["Run"], metric: str, planned: str) -> str:
    """Return whether lower or higher values of a metric are better. planned: what the sweep was ranked by."""
    monitoring = [run for run in runs if run.data.tags.get("best.metric") == metric]
    recorded = {run.data.tags.get("best.mode", "") for run in monitoring} - {""}
    recorded = recorded or ({planned} if planned else {"min"} if metric.endswith("loss") else set())
    if len(recorded) != 1 or not recorded <= {"min", "max"}:
        raise ConfigError(
            "mode", f"whether lower or higher {metric} is better is not recorded; type mode=min or mode=max"
        )
    return str(recorded.pop())


def _of_sweep(uri: str, client: "MlflowClient", name: str, metric: str) -> tuple[Table, list["Run"], str, str]:
    """Return the table of a sweep, its runs, which values were better by its plan, and in words what it is."""
    try:
        run_id = recall.find(uri, name)
    except ConfigError as error:
        names = sorted(experiment.name for experiment in client.search_experiments())
        raise ConfigError(
            "",
            f"{name!r} is neither an experiment, a study nor a sweep of this store{did_you_mean(name, names)}"
            f" (experiments with runs: {', '.join(map(repr, names)) or 'none'})",
        ) from error
    parent = recall.run(uri, run_id)
    if rows.JOBS not in parent.data.tags:
        experiment = record_reading.line(client.get_experiment(parent.info.experiment_id).name)
        raise ConfigError("", f"{name} is a single run; best takes an experiment, as {experiment!r}, or a sweep")
    recall.say_last(name, parent)
    table = recorded.table(uri, run_id, metric)
    return table, list(recorded.runs(uri, run_id).values()), table.mode, f"sweep {run_id}"


def _rows(runs: list["Run"], repeats: tuple[str, ...], metric: str) -> list[Row]:
    """Return a row for each configuration and repeat, with the values by which configurations differ.

    Raises ConfigError for a repeat that is no key of any run.
    """
    configurations = [_configuration(run) for run in runs]
    known = {key for values in configurations for key in values}
    for key in set(repeats) - known - {FOLD}:
        raise ConfigError("over", f"no run was recorded with the key {key!r}{did_you_mean(key, sorted(known))}")
    _without_followers(configurations, repeats)
    newest: dict[str, int] = {}  # configuration and repeat -> place of the run that counts
    for place, values in enumerate(configurations):
        key = json.dumps(values, sort_keys=True)
        if key not in newest or _is_finished(runs[place]) > _is_finished(runs[newest[key]]):
            newest[key] = place
    counted = sorted(newest.values(), reverse=True)
    keys = dict.fromkeys(key for place in counted for key in configurations[place])
    differ = [key for key in keys if len({configurations[place].get(key) for place in counted}) > 1]
    table = []
    for number, place in enumerate(counted):
        values = configurations[place]
        row = Row(number, {key: values[key] for key in differ if key in values})
        rows.from_store(row, runs[place], metric)
        table.append(row)
    return table


def _configuration(run: "Run") -> dict[str, Any]:
    """Return key -> value of what a run was trained with; where it was resumed with another value, both."""
    tags = run.data.tags
    params = {key: value for key, value in run.data.params.items() if key.split(".")[0] not in IDLE}
    drifted = {key: tags[f"{DRIFT}{key}"] for key in params if f"{DRIFT}{key}" in tags}
    code = {"code": tags[CODE][:8]} if CODE in tags else {}
    return {**params, **drifted, **code}


def _without_followers(configurations: list[dict[str, Any]], repeats: tuple[str, ...]) -> None:
    """Remove keys that follow a seed: `data.seed: ${seed}` has the seed's value in every run."""
    for repeat in repeats:
        followers = [
            key
            for key in {key for values in configurations for key in values} - set(repeats)
            if "seed" in key.split(".")[-1]
            and all(values.get(key) == values.get(repeat) for values in configurations)
            and len({values.get(repeat) for values in configurations}) > 1
        ]
        for values in configurations:
            for key in followers:
                values.pop(key, None)


def _is_finished(run: "Run") -> bool:
    return str(run.info.status) == "FINISHED"
