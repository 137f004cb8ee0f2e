"""Seeded mutations of the shipped configurations; `python -m tests.mutations COUNT [FIRST SEED]` prints figures."""

import copy
import faulthandler
import random
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from runner.cli.compose import configuration
from runner.settings import Settings
from runner.settings.errors import ConfigError, each
from runner.training.checking import checks
from tests.support import composing
from tests.support.experiments import here

FOLDER = Path(__file__).parent.parent / "experiments"
JUNK: list[Any] = [
    *(-1, 0, 1, 2, 3, 7, 10**6, 10**12, -0.5, 0.5, 1.5, float("nan"), float("inf"), True, False, None),
    *("", "x", "auto", "Linear", "os.system", "torch.load", "1", "valid/loss", "..", "${seed}", "é"),
    *([], [1], [[1, 2], [3]], [None], {}, {"a": 1}, {"name": "Linear"}, {"Linear": 4}, ["ReLU"], [{"Conv2d": 3}]),
]


def shipped() -> list[dict[str, Any]]:
    """Every study as it is composed."""
    with composing.hydra():
        found = []
        for path in here():
            config = composing.config([f"experiments={path.stem}"])
            found.append(OmegaConf.to_container(config, resolve=True))
    assert found
    return found  # type: ignore[return-value]


def mutated(bases: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """One of the configurations with one to three changes."""
    draw = random.Random(seed)
    config = copy.deepcopy(draw.choice(bases))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _change(config, draw)
    return config


def _change(config: dict[str, Any], draw: random.Random) -> None:
    holder, key = draw.choice(list(_places(config)))
    kind = draw.choice(("junk", "junk", "junk", "delete", "rename", "swap", "add"))
    if kind == "junk":
        holder[key] = copy.deepcopy(draw.choice(JUNK))
    elif kind == "delete":
        del holder[key]
    elif kind == "swap":
        other, place = draw.choice(list(_places(config)))
        holder[key] = copy.deepcopy(other[place])
    elif kind == "add" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(draw.choice(JUNK)))
    elif isinstance(holder, dict):
        name = str(key)
        at = draw.randrange(len(name) + 1)
        holder[name[:at] + draw.choice("abxyz_. /") + name[at + draw.choice((0, 1)) :]] = (
            holder.pop(key) if kind == "rename" else copy.deepcopy(draw.choice(JUNK))
        )


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def outcome(config: dict[str, Any]) -> str:
    """`valid`, or the key that is named. Raises what is neither."""
    schema = OmegaConf.structured(Settings)
    for key in ("data", "model", "loss", "optimizer", "scheduler"):
        OmegaConf.set_struct(schema[key], False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = configuration.settings(OmegaConf.merge(schema, OmegaConf.create(config)), [])  # type: ignore[arg-type]
            checks.check(made)
    except ConfigError as error:
        return _named([problem.key for problem in each(error)], error)
    except configuration.ERRORS as error:
        return _named([configuration.explained(error, []).partition(": ")[0]], error)
    return "valid"


def _named(keys: list[str], error: Exception) -> str:
    assert all(keys), f"no key: {error!r}"
    return keys[0]


def main(count: int, first: int = 0) -> None:
    """Try the mutations of the seeds from `first` and say what became of them."""
    bases, ends, slowest = shipped(), Counter[str](), 0.0
    for seed in range(first, first + count):
        found, seconds = _timed(bases, seed)
        if seconds > 1:  # imports of a first use, or a busy machine: only what stays slow is slow
            seconds = min(seconds, _timed(bases, seed)[1], _timed(bases, seed)[1])
        slowest = max(slowest, seconds)
        if seconds > 2 or found == "TRACEBACK":
            print(f"seed {seed}: {seconds:.1f} s, {found}", flush=True)
        ends[found if found in ("valid", "TRACEBACK") else "refused with a key"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{count:,} mutations: {dict(ends)}; slowest {slowest:.2f} s, peak memory {peak:.2f} GB")


def _timed(bases: list[dict[str, Any]], seed: int) -> tuple[str, float]:
    begun = time.perf_counter()
    try:
        found = outcome(mutated(bases, seed))
    except Exception as error:
        print(f"seed {seed}: {type(error).__name__}: {error}")
        found = "TRACEBACK"
    return found, time.perf_counter() - begun


if __name__ == "__main__":
    faulthandler.enable()
    main(*map(int, sys.argv[1:] or ["20000"]))
