"""The words that may be typed beside the chosen presets: groups, keys, and arguments of classes."""

import contextlib
from functools import cache

from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from runner.cli.guard import composition
from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.values import keys, lookup

#: Groups of Hydra's own that a person chooses.
HYDRA = ("hydra/launcher", "hydra/sweeper")


def groups() -> list[str]:
    """Return every group of which a preset can be chosen."""
    return [*places.groups(), "experiments", *HYDRA]


def known(words: list[str]) -> list[str]:
    """Return every key that can be typed beside the presets that `words` choose, and every group of presets.

    Arguments are those that the presets give and those that the classes take. Layers are left out.
    """
    named = groups()
    chosen = tuple(word for word in words if word.partition("=")[0] in named and "," not in word)
    return list(dict.fromkeys([*keys.declared(), *_beside(chosen), *named]))


def meant(key: str, words: list[str]) -> list[str]:
    """Return the keys that an unknown one may stand for, the likeliest first: `trainer.epochs`.

    An argument of a preset that is not chosen comes with its choice: `scheduler=step scheduler.gamma`.
    words: the other words of the command line.
    """
    parent = key.rpartition(".")[0]
    beside = [f"{parent}.{name}" if parent else name for name in siblings(parent)]
    all_keys = [*beside, *known(words)]
    return keys.alike(key, all_keys, 1) or _of_presets(keys.end(key)) or keys.alike(key, all_keys)


def hint(key: str, words: list[str]) -> str:
    """Return `; did you mean trainer.epochs=3?`, `'epochs'` if only the last name differs, "" if no key is near."""
    if key in ("model.name", "model._target_"):
        return "; a class as the whole model is model={name: CLASS, ...}, and a preset is model=PRESET"
    values = [w.partition("=")[2] for w in words if w.partition("=")[0].lstrip("+") == key]
    candidates = meant(key, [w for w in words if w.partition("=")[0].lstrip("+") != key])
    return keys.suggestion(key, candidates, next(iter(values), ""))


def siblings(parent: str) -> list[str]:
    """Return the keys that are declared directly below `parent`."""
    from runner.settings import Settings

    whole = OmegaConf.structured(Settings)
    node = OmegaConf.select(whole, parent) if parent else whole
    return list(map(str, node)) if isinstance(node, DictConfig) else []


def is_list(key: str) -> bool:
    """Return whether a key of the configuration is declared as a list."""
    from runner.settings import Settings

    return isinstance(OmegaConf.select(OmegaConf.structured(Settings), key), ListConfig)


def _of_presets(name: str) -> list[str]:
    """Return presets with an argument of this name, each with its key: `scheduler=step scheduler.gamma`."""
    words = []
    for group in groups()[: -len(HYDRA)]:
        for preset in places.presets(group) if group in keys.COMPONENTS else ():
            with contextlib.suppress(Exception):  # a file that cannot be read is reported when it is chosen
                values = OmegaConf.load(places.preset(group, preset))
                words += [f"{group}={preset} {group}.{name}"] if name in values else []
    store = ConfigStore.instance()
    for group in HYDRA if "launcher" in store.repo.get("hydra", {}) else ():  # else no Hydra has been started
        for file in store.list(group):
            if file.endswith(".yaml") and name in store.load(f"{group}/{file}").node:
                words.append(f"{group}={file.removesuffix('.yaml')} {group.replace('/', '.')}.{name}")
    return words


@cache
def _beside(words: tuple[str, ...]) -> list[str]:
    """Return knobs of the model, arguments of the components, and keys of the launcher and the sweeper."""
    try:
        config = composition.compose(words, RunMode.RUN)
    except Exception:  # its own message reports it
        return []
    names_of = [f"model.knobs.{name}" for name in _names(config, "model.knobs")]
    for group in keys.COMPONENTS:
        names = [*_names(config, group), *_arguments(config, group)]
        names_of += [f"{group}.{name}" for name in dict.fromkeys(names)]
    return names_of + [f"hydra.{part}.{n}" for part in ("launcher", "sweeper") for n in _names(config, f"hydra.{part}")]


def _names(config: DictConfig, key: str) -> list[str]:
    """Return the names at a key, without those that begin with _."""
    node = OmegaConf.select(config, key)
    return [str(name) for name in node if not str(name).startswith("_")] if isinstance(node, DictConfig) else []


def _arguments(config: DictConfig, group: str) -> list[str]:
    """Return the arguments of the class that a group has chosen; none where the class is unknown."""
    from runner.training.checking.schema import BESIDE, GROUPS

    kind, _, filled = GROUPS[group]
    name = OmegaConf.select(config, f"{group}.name") or OmegaConf.select(config, f"{group}._target_")
    try:
        takes = lookup.parameters(lookup.find(name, kind, group)) if name else {}
    except ConfigError:
        return []
    named = [n for n, p in takes.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return ["name", *(n for n in named if n not in (*filled, *lookup.FIXED)), *BESIDE.get(group, {})]
