"""Optuna's samplers by name, with their arguments checked. A configuration may name no others."""

import hashlib
from typing import Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup
from runner.sweeps.search import cmaes
from runner.sweeps.search.space import Space, grid

#: hydra/sweeper/sampler=NAME -> the class in optuna.samplers.
NAMES = {
    "tpe": "TPESampler",
    "cmaes": "CmaEsSampler",
    "random": "RandomSampler",
    "grid": "GridSampler",
    "nsgaii": "NSGAIISampler",
}
KEY = "hydra.sweeper.sampler"


def check(spec: dict[str, Any], space: Space) -> None:
    """Raise ConfigError for an unknown sampler, wrong arguments, or a sampler that cannot search this space."""
    name = named(spec)
    if name == "grid":
        grid(space)
    make(spec, space, 0, 0)


def named(spec: dict[str, Any]) -> str:
    """Return the short name of `{_target_: optuna.samplers.TPESampler, ...}` or `{name: tpe, ...}`: `tpe`."""
    target, _ = lookup.component(spec, KEY)
    for name, cls in NAMES.items():
        if target in (name, f"optuna.samplers.{cls}"):
            return name
    names = [*NAMES, *(f"optuna.samplers.{cls}" for cls in NAMES.values())]
    raise ConfigError(KEY, f"{target!r} is not one of {', '.join(NAMES)}{did_you_mean(str(target), names)}")


def make(spec: dict[str, Any], space: Space, seed: int, trial: int) -> Any:
    """Make the sampler for the trial of this number.

    Each trial gets a new sampler, whose seed depends on the trial's number alone: an interrupted search continues as it
    would have, and does not repeat the random numbers that it started with.
    """
    optuna = library()
    name = named(spec)
    arguments = {k: v for k, v in lookup.component(spec, KEY)[1].items() if v is not None and k != "seed"}
    seed = seed if spec.get("seed") is None else spec["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"{KEY}.seed", f"{seed!r} is not a whole number")
    cls = getattr(optuna.samplers, NAMES[name])
    if name == "grid":
        arguments["search_space"] = grid(space)
        cls = _grid_sampler(cls)
    lookup.bind(cls, arguments, KEY)
    if name == "cmaes":
        _need("cmaes")
        cls = cmaes.sampler(optuna)
    # The seed of a grid is its order, which must be the same for all trials.
    return lookup.made(cls, {**arguments, "seed": seed if name == "grid" else mixed(seed, trial)}, KEY)


def mixed(seed: int, trial: int) -> int:
    """Return the seed of a trial, a hash: seeds of neighbouring trials are unrelated."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial}".encode()).digest()[:4], "big")


def library() -> Any:
    """Import optuna without its log lines. Raises ConfigError where it is not installed."""
    _need("optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _grid_sampler(base: Any) -> Any:
    class GridSampler(base):  # type: ignore[misc]
        def after_trial(self, *arguments: Any) -> None:
            """Do nothing: Optuna's sampler stops Optuna's own loop after the last point, and that loop does not run."""

    return GridSampler


def _need(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ConfigError("hydra/sweeper", f"optuna needs the package {package}; pip install 'runner-torch[optuna]'")
