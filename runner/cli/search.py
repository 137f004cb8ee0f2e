"""A search from its words to its end: planned, checked, frozen and run under one parent run."""

from collections.abc import Callable
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from runner.cli import search_space, sweep_check, task
from runner.cli.compose import trials
from runner.cli.sweep_check import CheckedJob, Compose
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import permission, secrets
from runner.settings.trust.limits import JOBS
from runner.sweeps.manifest import Job, Manifest
from runner.sweeps.report.table import FOLD
from runner.sweeps.search import search, space
from runner.sweeps.search.search import SearchSpec

DIRECTIONS = {"minimize": "min", "maximize": "max"}
#: Keys that a continued search takes from the command line.
CHANGES = ("n_trials", "n_jobs", "max_failure_rate", "storage")


def run(
    asked: task.Task,
    values: dict[str, Any],
    overrides: list[Override],
    compose: Compose,
    launch: task.HydraLaunch,
    config: DictConfig,
    is_group: Callable[[str], bool],
) -> None:
    """Run the search that `values`, those of hydra.sweeper, and `overrides` describe, or continue a recorded one.

    is_group: whether a key chooses a preset.
    """
    from runner.sweeps import parent
    from runner.sweeps.run import job
    from runner.tracking import screen

    if asked.name not in ("check", "train"):
        raise ConfigError(
            "hydra/sweeper", f"a search trains; {asked.name} takes single values or hydra/sweeper=checked"
        )
    plan, settings, run_id = _planned(asked, values, overrides, compose, config, is_group)
    if plan is None:
        return
    wish = search.read(plan.search or {})

    def make(number: int, point: dict[str, Any]) -> Job:
        return trials.job(number, point, wish.fixed, wish.bases)

    with parent.sweeping(
        plan, settings, task.launched(asked, launch), screen.console(), asked.words, run_id
    ) as under_way:
        study = wish.study(under_way.info.parent, job.shared(under_way.info))
        search.search(wish, under_way, study, make)
    asked.results.append(task.result(under_way))


def _planned(
    asked: task.Task,
    values: dict[str, Any],
    overrides: list[Override],
    compose: Compose,
    config: DictConfig,
    is_group: Callable[[str], bool],
) -> tuple[Manifest | None, Any, str]:
    """Return the plan, its settings, and the id of the sweep that continues or ""; no plan for a mere check."""
    resumed = config.sweep.resume
    if resumed is not None and resumed != "last":
        return _recorded(str(resumed), values, config)
    parts, fixed = search_space.read(overrides)
    parts |= {
        key: search_space.older(key, value) for key, value in (values["search_space"] or {}).items() if key not in parts
    }
    space.check(parts)
    if FOLD in parts:
        raise ConfigError(FOLD, "is searched, and the best fold is no result; sweep over it with -m alone")
    jobs = [[*fixed, *trials.words({k: space.typed(v) for k, v in point.items()})] for point in space.corners(parts)]
    checked = sweep_check.check(sweep_check.capped(jobs, JOBS), compose, getattr(asked.command, "show", None))
    if asked.name == "check":
        return None, None, ""
    study = str(config.hydra.runtime.choices.get("experiments") or "runner")
    plan = sweep_check.manifest(checked, jobs, study, [*task.launcher(config), "hydra/sweeper=optuna"])
    wish = _wish(values, parts, fixed, checked[0])
    _refuse_storage(wish)
    search.check(wish)
    if resumed is not None:
        return _same(wish, checked[0], study, values, config)
    wish.bases = trials.bases(parts, fixed, compose, is_group)
    plan.jobs, plan.search = [], wish.plain()
    plan.metric, plan.mode = wish.objectives[0]
    return plan, checked[0].settings, ""


def _recorded(run: str, values: dict[str, Any], config: DictConfig) -> tuple[Manifest, Any, str]:
    """Return a recorded search with what has been typed anew."""
    from runner.settings import made
    from runner.sweeps import recorded
    from runner.tracking.read import recall

    uri = task.store(config)
    run_id = recall.find(uri, run)
    plan = recorded.plan(uri, run_id)
    wish = search.read(plan.search or {})
    if not wish.bases:
        raise ConfigError("sweep.resume", "the record of the search holds no configuration; it cannot go on")
    for key in CHANGES:
        if permission.typed(f"hydra.sweeper.{key}"):
            setattr(wish, key, values[key])
    if wish.storage and secrets.MASK in wish.storage:
        raise ConfigError("hydra.sweeper.storage", "its password was not recorded; give hydra.sweeper.storage=... anew")
    _refuse_storage(wish)
    search.check_numbers(wish)
    plan.search = wish.plain()
    settings = made(trials.config(wish.bases[0]["config"], {}))
    settings.tracking.uri = uri
    return plan, settings, run_id


def _same(
    wish: SearchSpec, checked: CheckedJob, study: str, values: dict[str, Any], config: DictConfig
) -> tuple[Manifest, Any, str]:
    """Return the newest sweep of the experiment. Raises ConfigError if that is another search."""
    from runner.sweeps import recorded

    uri = checked.settings.tracking.uri
    run_id = recorded.newest(uri, checked.settings.tracking.experiment or study)
    before = recorded.plan(uri, run_id)
    if before.search is None or search.read(before.search).space != wish.space:
        raise ConfigError(
            "sweep.resume",
            f"the last sweep, {run_id[:8]} ({before.title}), is not this search; to go on with it: runner resume"
            f" {run_id[:8]}",
        )
    return _recorded(run_id, values, config)


def _refuse_storage(wish: SearchSpec) -> None:
    """Raise ConfigError for a storage that a file or a record has chosen and a person has to."""
    if wish.storage is not None:
        permission.store(str(wish.storage), "hydra.sweeper.storage")


def _wish(values: dict[str, Any], parts: space.Space, fixed: list[str], checked: CheckedJob) -> SearchSpec:
    """Return the search that the values of hydra.sweeper and the space describe."""
    objectives = _objectives(values["direction"], checked)
    if len(objectives) > 1 and checked.settings.sweep.pruner is not None:
        raise ConfigError("sweep.pruner", "several objectives are no single value to prune by; leave one of both out")
    rest = {key: values[key] for key in (*CHANGES, "study_name")}
    seed = int(checked.settings.seed) % 2**31
    return SearchSpec(space.plain(parts), objectives, dict(values["sampler"]), seed, fixed=fixed, **rest)


def _objectives(direction: Any, checked: CheckedJob) -> list[tuple[str, str]]:
    """Return (metric, min | max) of every objective."""
    metric = checked.settings.sweep.metric
    names = [checked.monitor] if metric is None else [metric] if isinstance(metric, str) else list(metric)
    directions = [direction] if isinstance(direction, str) else list(direction or [])
    for word in directions:
        if word not in DIRECTIONS:
            raise ConfigError(
                "hydra.sweeper.direction",
                f"{word!r} is neither minimize nor maximize{did_you_mean(str(word), DIRECTIONS)}",
            )
    if names == [checked.monitor]:
        if [DIRECTIONS[word] for word in directions] not in ([], [checked.mode]):
            raise ConfigError(
                "hydra.sweeper.direction",
                f"{' '.join(directions)} is not what best means for {checked.monitor}, which is {checked.mode};"
                " leave it out, or set trainer.mode"
                if len(directions) == 1
                else f"{len(directions)} directions need sweep.metric with as many metrics",
            )
        return [(checked.monitor, checked.mode)]
    if len(names) != len(directions):
        raise ConfigError(
            "hydra.sweeper.direction",
            f"sweep.metric names {len(names)}, and there are {len(directions)} directions; give minimize or maximize"
            " for each",
        )
    return [(name, DIRECTIONS[word]) for name, word in zip(names, directions, strict=True)]
