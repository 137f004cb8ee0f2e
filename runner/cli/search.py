"""A search from its words to its end: planned, checked, frozen and run under one parent run."""

from collections.abc import Callable
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from runner.cli import search_space, sweep_check, task
from runner.cli.compose import trials
from runner.cli.sweep_check import Compose, Good
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import permission, secrets
from runner.settings.trust.limits import JOBS
from runner.sweep.manifest import Job, Manifest
from runner.sweep.search import search, space
from runner.sweep.search.search import SearchSpec

DIRECTIONS = {"minimize": "min", "maximize": "max"}
#: What a search that goes on may be told anew.
CHANGES = ("n_trials", "n_jobs", "max_failure_rate", "storage")


def run(
    asked: task.Task,
    given: dict[str, Any],
    overrides: list[Override],
    compose: Compose,
    launch: task.HydraLaunch,
    config: DictConfig,
    is_group: Callable[[str], bool],
) -> None:
    """Run the search that `given`, the values of hydra.sweeper, and `overrides` ask for, or go on with a recorded one.

    is_group: whether a key chooses a preset.
    """
    from runner.sweep import parent
    from runner.sweep.run import job
    from runner.tracking import screen

    if asked.name not in ("check", "train"):
        raise ConfigError(
            "hydra/sweeper", f"a search trains; {asked.name} takes single values or hydra/sweeper=checked"
        )
    plan, settings, run_id = _planned(asked, given, overrides, compose, config, is_group)
    if plan is None:
        return
    wish = search.read(plan.search or {})

    def make(number: int, values: dict[str, Any]) -> Job:
        return trials.job(number, values, wish.fixed, wish.bases)

    with parent.sweeping(
        plan, settings, task.launched(asked, launch), screen.console(), task.words(), run_id
    ) as under_way:
        study = wish.study(under_way.info.parent, job.shared(under_way.info))
        search.search(wish, under_way, study, make)
    asked.codes.append(task.code(under_way))


def _planned(
    asked: task.Task,
    given: dict[str, Any],
    overrides: list[Override],
    compose: Compose,
    config: DictConfig,
    is_group: Callable[[str], bool],
) -> tuple[Manifest | None, Any, str]:
    """(what is run, its settings, the sweep that goes on if one does); no plan where all that was asked is a check."""

    wanted = config.sweep.resume
    if wanted is not None and wanted != "last":
        return _recorded(str(wanted), given, config)
    parts, fixed = search_space.read(overrides)
    parts |= {
        key: search_space.older(key, value) for key, value in (given["search_space"] or {}).items() if key not in parts
    }
    space.check(parts)
    found = [[*fixed, *trials.words({k: space.typed(v) for k, v in point.items()})] for point in space.corners(parts)]
    good = sweep_check.check(sweep_check.capped(found, JOBS), compose, getattr(asked.command, "show", None))
    if asked.name == "check":
        return None, None, ""
    study = str(config.hydra.runtime.choices.get("experiments") or "runner")
    plan = sweep_check.manifest(good, found, study, [*task.launcher(config), "hydra/sweeper=optuna"])
    wish = _wish(given, parts, fixed, good[0])
    _refuse_storage(wish)
    search.check(wish)
    if wanted is not None:
        return _same(wish, good[0], study, given, config)
    wish.bases = trials.bases(parts, fixed, compose, is_group)
    plan.jobs, plan.search = [], wish.plain()
    plan.metric, plan.mode = wish.objectives[0]
    return plan, good[0].settings, ""


def _recorded(wanted: str, given: dict[str, Any], config: DictConfig) -> tuple[Manifest, Any, str]:
    """A recorded search, with what has been typed anew."""
    from runner.settings import made
    from runner.sweep import recorded
    from runner.tracking.read import recall

    uri = task.store(config)
    run_id = recall.find(uri, wanted)
    plan = recorded.plan(uri, run_id)
    wish = search.read(plan.search or {})
    if not wish.bases:
        raise ConfigError("sweep.resume", "the record of the search holds no configuration; it cannot go on")
    for key in CHANGES:
        if permission.typed(f"hydra.sweeper.{key}"):
            setattr(wish, key, given[key])
    if wish.storage and secrets.MASK in wish.storage:
        raise ConfigError("hydra.sweeper.storage", "its password was not recorded; give hydra.sweeper.storage=... anew")
    _refuse_storage(wish)
    search.check_numbers(wish)
    plan.search = wish.plain()
    settings = made(trials.config(wish.bases[0]["config"], {}))
    settings.tracking.uri = uri
    return plan, settings, run_id


def _same(
    wish: SearchSpec, good: Good, study: str, given: dict[str, Any], config: DictConfig
) -> tuple[Manifest, Any, str]:
    """The newest sweep of the experiment, which has to be this search."""
    from runner.sweep import recorded

    uri = good.settings.tracking.uri
    run_id = recorded.newest(uri, good.settings.tracking.experiment or study)
    before = recorded.plan(uri, run_id)
    if before.search is None or search.read(before.search).space != wish.space:
        raise ConfigError(
            "sweep.resume",
            f"the last sweep, {run_id[:8]} ({before.title}), is not this search; to go on with it: runner resume"
            f" {run_id[:8]}",
        )
    return _recorded(run_id, given, config)


def _refuse_storage(wish: SearchSpec) -> None:
    """Raise ConfigError for a storage that a file or a record has chosen and a person has to."""
    if wish.storage is not None:
        permission.store(str(wish.storage), "hydra.sweeper.storage")


def _wish(given: dict[str, Any], parts: space.Space, fixed: list[str], good: Good) -> SearchSpec:
    objectives = _objectives(given["direction"], good)
    if len(objectives) > 1 and good.settings.sweep.pruner is not None:
        raise ConfigError("sweep.pruner", "several objectives are no single value to prune by; leave one of both out")
    rest = {key: given[key] for key in (*CHANGES, "study_name")}
    seed = int(good.settings.seed) % 2**31
    return SearchSpec(space.plain(parts), objectives, dict(given["sampler"]), seed, fixed=fixed, **rest)


def _objectives(direction: Any, good: Good) -> list[tuple[str, str]]:
    """(metric, min | max) of every objective."""
    wanted = good.settings.sweep.metric
    names = [good.monitor] if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    directions = [direction] if isinstance(direction, str) else list(direction or [])
    for word in directions:
        if word not in DIRECTIONS:
            raise ConfigError(
                "hydra.sweeper.direction",
                f"{word!r} is neither minimize nor maximize{did_you_mean(str(word), DIRECTIONS)}",
            )
    if names == [good.monitor]:
        if [DIRECTIONS[word] for word in directions] not in ([], [good.mode]):
            raise ConfigError(
                "hydra.sweeper.direction",
                f"{' '.join(directions)} is not what best means for {good.monitor}, which is {good.mode};"
                " leave it out, or set trainer.mode"
                if len(directions) == 1
                else f"{len(directions)} directions need sweep.metric with as many metrics",
            )
        return [(good.monitor, good.mode)]
    if len(names) != len(directions):
        raise ConfigError(
            "hydra.sweeper.direction",
            f"sweep.metric names {len(names)}, and there are {len(directions)} directions; give minimize or maximize"
            " for each",
        )
    return [(name, DIRECTIONS[word]) for name, word in zip(names, directions, strict=True)]
