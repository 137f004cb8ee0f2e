"""Rules for what a composed configuration makes Hydra run, write and connect to. What cannot be read is refused."""

import contextlib
import copy
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, flag_override

from runner import permission, recorded_settings
from runner.errors import ConfigError, did_you_mean

#: What a sweeper may be told to make, beside classes of the packages that the person trusts; see runner.sweep.samplers.
PARTS = tuple(f"optuna.samplers.{name}Sampler" for name in ("TPE", "CmaEs", "Random", "Grid", "NSGAII"))
#: What a file may tell a launcher in words: names that a cluster's queue knows.
QUEUE = (
    *("name", "partition", "qos", "account", "constraint", "exclude", "gres"),
    *("mem_per_gpu", "mem_per_cpu", "pre_dispatch", "batch_size", "max_nbytes", "prefer"),
)
PLUGINS: dict[str, type] = {"launcher": Launcher, "sweeper": Sweeper}
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
#: The folder in which submitit leaves pickles, which it reads by the number of a process.
SUBMITIT = "submitit_folder"
#: What the name of a job's folder may be made of beside plain words.
JOB = re.compile(r"\$\{(hydra[.:]job\.(num|id|name|override_dirname)|now:[^${}]*)\}")
MODE = "a file may not begin a sweep; leave it out, and type -m"


def check(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse a composed configuration that would make Hydra run what it names, or write where it says.

    words: all that Hydra has composed it of, Hydra's own and those of records and sweepers among them.
    """
    with _as_when_used(config):
        _check_name(config)
    with _as_when_used(config):  # where the name is what it is going to be
        _check(config, words)


def job_of(config: DictConfig, sweep: DictConfig) -> None:
    """Settle for a job what was settled for its sweep: the folder, whose name holds the time."""
    _pin(config, "hydra.sweep.dir", str(sweep.hydra.sweep.dir))


def _check(config: DictConfig, words: Sequence[str]) -> None:
    hydra = config.hydra
    noted: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    if not {*noted["hydra"], *noted["task"]} <= set(words):
        raise ConfigError("hydra.overrides", "a configuration may not say what was typed; leave it out")
    for key, nothing in (("callbacks", {}), ("searchpath", [])):
        if _settled(config, f"hydra.{key}", nothing):
            raise ConfigError(f"hydra.{key}", "a configuration may not name code for Hydra to run; leave it out")
    if _settled(config, "hydra.job.env_set", {}):
        raise ConfigError("hydra.job.env_set", "a configuration may not set environment variables; set them yourself")
    if hydra.mode is not None and not any(word.startswith("hydra.mode=") for word in words):
        raise ConfigError("hydra.mode", MODE)
    for key in ("hydra_logging", "job_logging"):
        _check_logging(_settled(config, f"hydra.{key}"), f"hydra.{key}")
    for key in PLUGINS:
        _check_plugin(_value(config, f"hydra.{key}"), key)
    _check_sweeper(config)
    _check_folders(config)
    _check_launcher(config)


def _value(config: DictConfig, key: str) -> Any:
    """The plain value that Hydra is going to get. Raises ConfigError where it cannot be known beforehand."""
    try:
        found = OmegaConf.select(config, key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except Exception as error:
        reason = str(getattr(error, "msg", None) or error).strip().split("\n")[0]
        raise ConfigError(
            key, f"its value is not known before it is used ({reason}), so no file may say it; write it out, or type it"
        ) from error


def _settled(config: DictConfig, key: str, nothing: Any = None) -> Any:
    """The value, which stands there from now on: what was looked at is what is used, though it may name the time.

    nothing: what stands there where there is none.
    """
    value = _value(config, key) or nothing
    if value is not None:
        _pin(config, key, value)
    return value


def _check_plugin(node: Any, key: str) -> None:
    """Hydra asks as much only after the configuration is composed, and does not name the key."""
    name = str(node.get("_target_")) if isinstance(node, dict) else ""
    known = [f"{c.__module__}.{c.__qualname__}" for c in Plugins.instance().discover(PLUGINS[key])]
    if name not in known:
        near = did_you_mean(name, known)
        raise ConfigError(
            f"hydra.{key}._target_", f"{name!r} is no {key} that is installed; choose one with hydra/{key}=NAME{near}"
        )
    for name, value in node.items():
        _check_parts(value, f"hydra.{key}.{name!s}")


def _check_logging(value: Any, key: str) -> None:
    """logging.config calls what `()` names, makes what `class` names and imports what ext:// names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            below = f"{key}.{name}"
            if name == "()" or (name == "class" and inner not in ("logging.StreamHandler", "logging.Formatter")):
                raise ConfigError(below, f"{inner!r} would be run or would write a file; use logging.StreamHandler")
            _check_logging(inner, below)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_logging(inner, f"{key}[{index}]")
    elif isinstance(value, str) and value.startswith(("ext://", "cfg://")) and value not in STREAMS:
        raise ConfigError(key, f"{value!r} would be imported; use {' or '.join(STREAMS)}")


def _check_parts(value: Any, key: str) -> None:
    """Check the objects that Hydra makes for a launcher or a sweeper, which itself has to be an installed plugin."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _check_parts(inner, f"{key}[{index}]")
    if not isinstance(value, dict):
        return
    if "_target_" in value:
        _check_part(str(value["_target_"]), f"{key}._target_")
    for name, inner in value.items():
        _check_parts(inner, f"{key}.{name}")


def _check_part(name: str, key: str) -> None:
    first = name.partition(".")[0]
    if name in PARTS:
        return
    known = set(permission.packages())
    found: Any = None
    if first in known and all(part.isidentifier() for part in name.split(".")):
        with contextlib.suppress(ImportError, AttributeError):
            found = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    if not isinstance(found, type) or found.__module__.partition(".")[0] not in known:
        raise ConfigError(
            key, f"{name!r} may not be run{did_you_mean(name, PARTS)}; a person allows a package with --trust {first}"
        )


def _check_name(config: DictConfig) -> None:
    """It becomes part of folders, and a line of the script that a cluster's queue runs."""
    name = str(_settled(config, "hydra.job.name"))
    if not permission.wholly("hydra.job.name") and (not re.fullmatch(r"[\w.,@%+= -]+", name) or ".." in name):
        raise ConfigError("hydra.job.name", f"{name!r} is not a plain name; use letters, digits, - and _")


def _check_sweeper(config: DictConfig) -> None:
    """Refuse words for every job that have to be typed: a sweeper adds them after all checks of files."""
    sweeper = _value(config, "hydra.sweeper")
    for key in ("params", "search_space"):
        name, values = f"hydra.sweeper.{key}", sweeper.get(key) or {}
        if not isinstance(values, dict):
            raise ConfigError(name, f"{values!r} gives no keys; expected key: value, as in optimizer.lr: 0.1,0.2")
        for word in values:
            bare = str(word).lstrip("+~")
            of_hydra = re.split(r"[./@]", bare)[0] == "hydra"
            if (of_hydra or re.fullmatch(r"tracking(\.uri.*|@.*)?", bare)) and not permission.typed(name):
                raise ConfigError(f"{name}.{bare}", f"no file may say it for every job; type {bare}=... yourself")


def _check_launcher(config: DictConfig) -> None:
    """Refuse texts for a launcher that no person typed: they may become a command, a folder or an address."""
    chosen = str(config.hydra.runtime.choices.get("hydra/launcher"))
    usual = _leaves(_own(chosen))
    for key, value in _leaves(OmegaConf.to_container(config.hydra.launcher, resolve=False) or {}).items():
        name = f"hydra.launcher.{key}"
        if permission.wholly(name) or key == "_target_" or usual.get(key, ...) == value or _is_plain(key, value):
            continue
        raise ConfigError(
            name, f"{value!r} may become a command or a place, so no file and no record may say it; type {name}=..."
        )
    if (
        usual.get(SUBMITIT)
        and config.hydra.launcher.get(SUBMITIT)
        and not permission.typed(f"hydra.launcher.{SUBMITIT}")
    ):
        folder = Path(str(config.hydra.sweep.dir)) / ".submitit" / token_hex(4) / "%j"
        _pin(config, f"hydra.launcher.{SUBMITIT}", str(folder))


def _own(launcher: str) -> Any:
    """Return the default configuration of an installed launcher."""
    with contextlib.suppress(Exception):
        return OmegaConf.to_container(ConfigStore.instance().load(f"hydra/launcher/{launcher}.yaml").node)
    return {}


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Dotted key -> value; an empty mapping is none."""
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, inner in value.items() for k, v in _leaves(inner, f"{key}.{name}" if key else name).items()}


def _is_plain(key: str, value: Any) -> bool:
    """Numbers and the names of a queue, which can do no more than be wrong."""
    if "additional_parameters" in key:
        return False
    if value is None or isinstance(value, bool | int | float):
        return True
    return key in QUEUE and isinstance(value, str) and re.fullmatch(r"[\w.,:@%/+-]*", value) is not None


def _check_folders(config: DictConfig) -> None:
    """A file may not choose a folder outside of the working directory; the person may."""
    run, sweep = (_folder(config, f"hydra.{key}") for key in ("run.dir", "sweep.dir"))
    permission.folder(run, "hydra.run.dir")
    permission.folder(sweep, "hydra.sweep.dir")
    permission.no_links(sweep, "hydra.sweep.dir")
    job = _subdir(config)
    permission.below(sweep, job, "hydra.sweep.subdir")
    inner = _folder(config, "hydra.output_subdir")
    if inner:
        for place in (run, str(Path(sweep, job))):
            permission.below(place, inner, "hydra.output_subdir")
            permission.no_links(str(Path(place, inner)), "hydra.output_subdir")


def _folder(config: DictConfig, key: str) -> str:
    return _typed(config, key) if permission.wholly(key) else str(_settled(config, key) or "")


def _typed(config: DictConfig, key: str) -> str:
    """What a person has typed, who may also say what nobody knows before it is used."""
    with contextlib.suppress(ConfigError):
        return str(_value(config, key) or "")
    return "."


def _subdir(config: DictConfig) -> str:
    """The folder of a sweep's first job. What is in its name is found out in each job, so it may not be anything."""
    key = "hydra.sweep.subdir"
    if permission.typed(key):
        return _typed(config, key)
    text = str(OmegaConf.to_container(config.hydra.sweep, resolve=False).get("subdir") or "")  # type: ignore[union-attr]
    if "$" in JOB.sub("", text):
        raise ConfigError(key, f"{text!r} may be another folder in each job; use ${{hydra.job.num}}, or type {key}=...")
    job = copy.deepcopy(config) if "$" in text.replace("${hydra.job.num}", "0") else config
    if job is config:
        return text.replace("${hydra.job.num}", "0")
    with flag_override(job.hydra, ["struct", "readonly"], [False, False]):
        job.hydra.job.num, job.hydra.job.id = 0, "0"
    with _as_when_used(job):
        return str(_value(job, key))


@contextlib.contextmanager
def _as_when_used(config: DictConfig) -> Iterator[None]:
    """Within the block `${hydra:...}` gives what it is going to give."""
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, OmegaConf.masked_copy(config, "hydra")  # type: ignore[assignment]
    try:
        yield
    finally:
        instance.cfg = before


def _pin(config: DictConfig, key: str, value: Any) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with flag_override(node, ["struct", "readonly"], [False, False]):
        node[name] = recorded_settings.escaped(value)
