"""Optuna's samplers by name, with their arguments checked; the only ones that a configuration may name."""

import hashlib
from typing import Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup
from runner.sweep.search import cmaes
from runner.sweep.search.space import Space, grid

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
    """Raises ConfigError for a sampler that there is not, or that cannot be had for this space."""
    name = named(spec)
    if name == "grid":
        grid(space)
    make(spec, space, 0, 0)


def named(spec: dict[str, Any]) -> str:
    """The short name of what `{_target_: optuna.samplers.TPESampler, ...}` names, or `{name: tpe, ...}`."""
    wanted, _ = lookup.component(spec, KEY)
    for name, found in NAMES.items():
        if wanted in (name, f"optuna.samplers.{found}"):
            return name
    known = [*NAMES, *(f"optuna.samplers.{found}" for found in NAMES.values())]
    raise ConfigError(KEY, f"{wanted!r} is not one of {', '.join(NAMES)}{did_you_mean(str(wanted), known)}")


def make(spec: dict[str, Any], space: Space, seed: int, trial: int) -> Any:
    """The sampler for one trial.

    It is made anew for each, and its seed depends on the trial's number alone: so a search that was interrupted goes on
    as it would have done, and not with the numbers that it began with.
    """
    optuna = library()
    name = named(spec)
    arguments = {k: v for k, v in lookup.component(spec, KEY)[1].items() if v is not None and k != "seed"}
    seed = seed if spec.get("seed") is None else spec["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"{KEY}.seed", f"{seed!r} is not a whole number")
    found = getattr(optuna.samplers, NAMES[name])
    if name == "grid":
        arguments["search_space"] = grid(space)
    lookup.bind(found, arguments, KEY)
    if name == "cmaes":
        _need("cmaes")
        found = cmaes.sampler(optuna)
    # Of a grid, the seed is the order, which has to be the same for all.
    return lookup.made(found, {**arguments, "seed": seed if name == "grid" else mixed(seed, trial)}, KEY)


def mixed(seed: int, trial: int) -> int:
    """A seed of the trial's own: neighbours have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial}".encode()).digest()[:4], "big")


def library() -> Any:
    """The module optuna, silent. Raises ConfigError where it is not installed."""
    _need("optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _need(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ConfigError("hydra/sweeper", f"optuna needs the package {package}; pip install 'runner-torch[optuna]'")
