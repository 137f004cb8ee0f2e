"""Rules for what a composed configuration makes Hydra run, write and connect to. What cannot be read is refused."""

import contextlib
import copy
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, flag_override

from runner.cli.guard import used
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import permission, recorded_settings, typed_words

#: Classes of which a sweeper may make objects, beside those of trusted packages; see sweep/search/samplers.
PARTS = tuple(f"optuna.samplers.{name}Sampler" for name in ("TPE", "CmaEs", "Random", "Grid", "NSGAII"))
#: Keys of a launcher that a file may set to words: names that a cluster's queue knows.
QUEUE = (
    *("name", "partition", "qos", "account", "constraint", "exclude", "gres"),
    *("mem_per_gpu", "mem_per_cpu", "pre_dispatch", "batch_size", "max_nbytes", "prefer"),
)
PLUGINS: dict[str, type] = {"launcher": Launcher, "sweeper": Sweeper}
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
#: The folder in which submitit leaves pickles, which it reads by the number of a process.
SUBMITIT = "submitit_folder"
#: References that the name of a job's folder may hold.
JOB = re.compile(r"\$\{(hydra[.:]job\.(num|id|name|override_dirname)|now:[^${}]*)\}")
MODE = "no file may begin a sweep; leave it out, and type -m"


def check(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse a composed configuration that would make Hydra run what it names, or write outside of its folders.

    words: all that Hydra has composed it of, Hydra's own and those of records and sweepers among them.
    """
    with used.as_when_used(config):
        _check_name(config)
    with used.as_when_used(config):  # where the name is what it is going to be
        _check(config, words)


def job_of(config: DictConfig, sweep: DictConfig) -> None:
    """Fix for a job what is fixed for its sweep: the folder, whose name holds the time."""
    used.pin(config, "hydra.sweep.dir", str(sweep.hydra.sweep.dir))


def folders_vary(sweep: DictConfig) -> bool:
    """Return whether the folders of a sweep's jobs are named after values of the jobs."""
    return "$" in JOB.sub("", used.written(sweep, "hydra.sweep.subdir"))


def folder_of_job(sweep: DictConfig, config: DictConfig | dict[str, Any], number: int) -> str:
    """Return the folder of a job if its name is made of values of the job's; "" if it is not.

    config: of the job, without Hydra's own part; in a plain one nothing is a reference any more.
    Raises ConfigError for a folder that a file leads elsewhere.
    """
    if not folders_vary(sweep):
        return ""
    whole: Any = OmegaConf.create(recorded_settings.escaped(config)) if isinstance(config, dict) else copy.copy(config)
    with flag_override(whole, ["struct", "readonly"], [False, False]):
        whole.hydra = sweep.hydra
    return _path_of_job(whole, number, str(sweep.hydra.sweep.dir))


def _check(config: DictConfig, words: Sequence[str]) -> None:
    hydra = config.hydra
    noted: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    if not {*noted["hydra"], *noted["task"]} <= set(words):
        raise ConfigError("hydra.overrides", "a configuration may not set what was typed; leave it out")
    for key, nothing in (("callbacks", {}), ("searchpath", [])):
        if used.settled(config, f"hydra.{key}", nothing):
            raise ConfigError(f"hydra.{key}", "a configuration may not name code for Hydra to run; leave it out")
    if used.settled(config, "hydra.job.env_set", {}):
        raise ConfigError("hydra.job.env_set", "a configuration may not set environment variables; set them yourself")
    if hydra.mode is not None and not any(word.startswith("hydra.mode=") for word in words):
        raise ConfigError("hydra.mode", MODE)
    for key in ("hydra_logging", "job_logging"):
        _check_logging(used.settled(config, f"hydra.{key}"), f"hydra.{key}")
    for key in PLUGINS:
        _check_plugin(used.value(config, f"hydra.{key}"), key)
    _check_sweeper(config)
    _check_folders(config)
    _check_launcher(config)


def _check_plugin(node: Any, key: str) -> None:
    """Refuse what is no installed launcher or sweeper: Hydra checks it only later, and names no key."""
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
    """Refuse what logging.config would run: it calls `()`, makes `class` and imports ext:// names."""
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
    """Refuse a class that neither is one of `PARTS` nor belongs to a package that the person trusts."""
    first = name.partition(".")[0]
    if name in PARTS:
        return
    trusted = set(permission.packages())
    part: Any = None
    if first in trusted and all(part.isidentifier() for part in name.split(".")):
        with contextlib.suppress(ImportError, AttributeError):
            part = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    if not isinstance(part, type) or part.__module__.partition(".")[0] not in trusted:
        raise ConfigError(
            key, f"{name!r} may not be run{did_you_mean(name, PARTS)}; with --trust {first} a person allows its package"
        )


def _check_name(config: DictConfig) -> None:
    """Refuse a name that is no plain one: it becomes part of folders, and a line of the script that a queue runs."""
    key = "hydra.job.name"
    name = str(used.settled(config, key))
    if not permission.wholly(key, name) and (not re.fullmatch(r"[\w.,@%+= -]+", name) or ".." in name):
        raise ConfigError(key, f"{name!r} is not a plain name; use letters, digits, - and _")


def _check_sweeper(config: DictConfig) -> None:
    """Refuse words for every job that have to be typed: a sweeper adds them after all checks of files."""
    sweeper = used.value(config, "hydra.sweeper")
    for key in ("params", "search_space"):
        name, values = f"hydra.sweeper.{key}", sweeper.get(key) or {}
        if not isinstance(values, dict):
            raise ConfigError(name, f"{values!r} gives no keys; expected key: value, as in optimizer.lr: 0.1,0.2")
        for word, value in values.items():
            _check_word(word, value, (*name.split("."), word))


def _check_word(word: Any, value: Any, path: tuple[Any, ...]) -> None:
    """Check one of the words that a sweeper makes, by the key that Hydra is going to read in it."""
    name = f"{'.'.join(path[:3])}.{str(word).lstrip('+~')}"
    text = f"{word}={value}" if path[2] == "params" else f"{word}=0"
    read = typed_words.read(text)
    if read is None or read.get_key_element().lstrip("+~") != str(word).lstrip("+~"):
        raise ConfigError(name, f"{text!r} is no word of a command line; expected key: value, as in optimizer.lr: 0.1")
    key = read.key_or_group
    of_hydra = re.split(r"[./]", key)[0] == "hydra" or (read.package or "").partition(".")[0] == "hydra"
    if not of_hydra and not re.fullmatch(r"tracking(\.uri.*)?", key) and (read.package or "") != "tracking":
        return
    typed = (permission.wholly((*path, *below), leaf) for below, leaf in typed_words.leaves(value).items())
    if not all(typed):
        raise ConfigError(name, f"no file may say it for every job; type {key}=... yourself")


def _check_launcher(config: DictConfig) -> None:
    """Refuse texts for a launcher that no person typed: they may become a command, a folder or an address."""
    chosen = str(config.hydra.runtime.choices.get("hydra/launcher"))
    usual = typed_words.leaves(_own(chosen))
    launcher: Any = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    for path, value in typed_words.leaves(launcher).items():
        key, is_usual = ".".join(map(str, path)), usual.get(path, ...) == value
        is_said = permission.wholly(("hydra", "launcher", *path), value)
        if is_said or is_usual or key == "_target_" or _is_plain(key, value):
            continue
        raise ConfigError(
            f"hydra.launcher.{key}",
            f"{value!r} may become a command or a place, so no file and no record may set any of it;"
            f" type hydra.launcher.{key}=... without references",
        )
    folder = config.hydra.launcher.get(SUBMITIT)
    if usual.get((SUBMITIT,)) and folder and not permission.typed(f"hydra.launcher.{SUBMITIT}"):
        nobody_knows = Path(str(config.hydra.sweep.dir)) / ".submitit" / token_hex(4) / "%j"
        used.pin(config, f"hydra.launcher.{SUBMITIT}", str(nobody_knows))


def _own(launcher: str) -> Any:
    """Return the default configuration of an installed launcher; nothing of one that a file describes."""
    try:
        return OmegaConf.to_container(ConfigStore.instance().load(f"hydra/launcher/{launcher}.yaml").node)
    except ConfigLoadError:
        return {}


def _is_plain(key: str, value: Any) -> bool:
    """Return whether a value is a number or a name of a queue, which can do no more than be wrong."""
    if "additional_parameters" in key:
        return False
    if value is None or isinstance(value, bool | int | float):
        return True
    return key in QUEUE and isinstance(value, str) and re.fullmatch(r"[\w.,:@%/+-]*", value) is not None


def _check_folders(config: DictConfig) -> None:
    """Refuse folders outside of the working directory that no person has typed."""
    (run, _), (sweep, is_typed) = (_folder(config, f"hydra.{key}") for key in ("run.dir", "sweep.dir"))
    if not is_typed:
        permission.no_links(sweep, "hydra.sweep.dir")
    job = _subdir(config, sweep)
    key = "hydra.output_subdir"
    if used.is_said(config, key):
        return
    inner = str(used.settled(config, key) or "")
    for place in (run, str(Path(sweep, job))) if inner else ():
        permission.below(place, inner, key)
        permission.no_links(str(Path(place, inner)), key)


def _folder(config: DictConfig, key: str) -> tuple[str, bool]:
    """Return a folder, and whether a person has typed all of it."""
    if used.is_said(config, key):
        return used.known(config, key), True
    path = str(used.settled(config, key) or "")
    permission.folder(path, key)
    return path, False


def _subdir(config: DictConfig, sweep: str) -> str:
    """Return the folder of a sweep's first job. Each job fills in its name, so only some references are allowed."""
    key = "hydra.sweep.subdir"
    text = used.written(config, key)
    if permission.wholly(key, text):
        return used.known(config, key)
    if not permission.typed(key) and "$" in JOB.sub("", text):
        raise ConfigError(key, f"{text!r} may be another folder in each job; use ${{hydra.job.num}}, or type {key}=...")
    path = text.replace("${hydra.job.num}", "0")
    return _path_of_job(config, 0, sweep) if "$" in path else _below(sweep, path)


def _path_of_job(config: DictConfig, number: int, sweep: str) -> str:
    """Return the folder of a job within that of its sweep. Raises ConfigError for one that a file leads elsewhere."""
    job = copy.deepcopy(config)
    with flag_override(job.hydra, ["struct", "readonly"], [False, False]):
        job.hydra.job.num, job.hydra.job.id = number, str(number)
    with used.as_when_used(job):
        return _below(sweep, str(used.value(job, "hydra.sweep.subdir")))


def _below(sweep: str, path: str) -> str:
    """Return a path within the sweep's folder. Raises ConfigError for one that leads out of it and was not typed."""
    if not permission.wholly("hydra.sweep.subdir", path):
        permission.below(sweep, path, "hydra.sweep.subdir")
    return path
