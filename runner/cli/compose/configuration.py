"""Settings, made of what Hydra has composed."""

import contextlib
import dataclasses
import re
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from runner.cli.answers import vocabulary
from runner.cli.answers.hydra_errors import COMPONENTS as COMPONENTS
from runner.cli.answers.hydra_errors import explained as explained
from runner.cli.compose import inherited, inherited_plots, losses_by_name
from runner.cli.guard import composition, studies
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError, Problems, did_you_mean, each
from runner.settings.files.origins import Origins, plain
from runner.settings.trust import permission, recorded_settings, secrets, typed_words
from runner.settings.values import typed
from runner.settings.values.keys import KINDS, LENGTHS
from runner.sweeps.prune import rules
from runner.sweeps.run import keeping

#: Layers that a message names.
SHOWN = 30
#: A file of presets in which such a key may stand.
PRESET = re.compile(r"(^|/)conf/(trainer|model)/[^/]+$")
#: Errors of a configuration before there are settings.
ERRORS = (ConfigError, OmegaConfBaseException, HydraException)


def settings(config: DictConfig, overrides: list[str]) -> Settings:
    """Return the settings.

    Raises ConfigError for unknown or unused keys, missing values, stores not typed, and a wrong sweep.pruner or
    sweep.keep, which are checked here because the checks of a run are below the room of sweeps.
    """
    problems = Problems()
    with problems.collect():
        _refuse_unknown(config, Settings, "", overrides)
    with problems.collect():
        _refuse_unused_knobs(config, overrides)
    with problems.collect():
        _refuse_new_layers(overrides)
    with problems.collect():
        if _says_missing(OmegaConf.to_container(config)):  # which is sooner known than the keys, 4 ms for a job
            recorded_settings.refuse_missing(config)
    problems.raise_all()
    result = OmegaConf.to_object(config)
    assert isinstance(result, Settings)
    losses_by_name.leave_preset_out(config, result, overrides)
    _leave_presets_out(config, result, overrides)
    inherited_plots.leave_out(config, result, overrides)
    _choose_nearer(config, result, overrides)
    typed.check(result, Settings)
    permission.store(result.tracking.uri, "tracking.uri")
    rules.check(result)
    keeping.check(result)
    secrets.learn(dataclasses.asdict(result))
    return result


def _leave_presets_out(config: DictConfig, settings: Settings, overrides: list[str]) -> None:
    """Remove arguments of a preset that the class which was chosen over it does not take; nobody asked for them."""
    specs = {group: getattr(settings, group) for group in COMPONENTS}
    foreign = {group: names for group in COMPONENTS if (names := inherited.not_taken(group, specs[group], True))}
    beside = {group: _beside_several(getattr(settings, group)) for group in ("optimizer", "scheduler")}
    foreign |= (parted := {group: names for group, names in beside.items() if names})
    origins = composition.origins_of(overrides) if foreign else Origins()
    for group, names in foreign.items():
        chosen_in = origins.of(f"{group}.name") or origins.of(f"{group}._target_")
        for name in names:
            file = origins.of(f"{group}.{name}").rpartition(":")[0]
            is_other = group in parted or file != chosen_in.rpartition(":")[0]
            if re.search(rf"(^|/)conf/{group}/[^/]+$", file) and is_other:
                with flag_override(config[group], ["struct", "readonly"], [False, False]):
                    del config[group][name]
                del getattr(settings, group)[name]


def _choose_nearer(config: DictConfig, settings: Settings, overrides: list[str]) -> None:
    """Keep one of several keys of which one alone can be meant, such as trainer.steps and epochs: the nearest.

    What is typed counts more than a study, and that more than a preset; the checks refuse two of one place.
    """
    for parent, names in {"trainer": LENGTHS, **KINDS}.items():
        values = OmegaConf.select(config, parent)
        if not isinstance(values, DictConfig) or any(values.get(name) is None for name in names):
            continue
        origins = composition.origins_of(overrides)
        files = {name: origins.of(f"{parent}.{name}").rpartition(":")[0] for name in names}
        ranks = {name: 2 if not file else 0 if PRESET.search(file) else 1 for name, file in files.items()}
        for name in names:
            if ranks[name] == max(ranks.values()):
                continue
            if parent == "trainer":
                values[name] = None
                setattr(settings.trainer, name, None)
                continue
            section, _, key = parent.partition(".")
            with flag_override(values, ["struct", "readonly"], [False, False]):
                del values[name]
            del getattr(getattr(settings, section), key)[name]


def _beside_several(spec: Any) -> list[str]:
    """Return the keys of one component where several by their names were chosen over it."""
    if not isinstance(spec, dict) or "groups" in spec:
        return []
    parts = [name for name, one in spec.items() if isinstance(one, dict) and {"name", "_target_"} & set(one)]
    return [name for name in spec if name not in parts] if parts else []


def context(config: DictConfig, study: Any, overrides: list[str]) -> Context:
    """Return what a command gets beside its settings, without secrets."""
    plain = OmegaConf.to_container(config, resolve=True)
    shown = secrets.without(plain)
    text = recorded_settings.write(shown)
    return Context(str(study) if study else "runner", text, [secrets.word(word) for word in overrides])


def left_over(config: DictConfig, overrides: list[str]) -> list[str]:
    """Return lines that say what of a study is left out, and what of a preset holds for a class that was typed."""
    lines = list(studies.remarks)
    named = [w.partition("=")[0].partition(".")[0] for w in overrides if re.match(r"(\w+)\.name=", w)]
    for group in [g for g in named if g in COMPONENTS]:
        origins = composition.origins_of(overrides)
        keys = [k for k in origins.below(group) if k not in ("name", "_target_")]
        place = origins.of(f"{group}.{keys[0]}").rpartition(":")[0] if keys else ""
        if holding := [key for key in keys if key in config[group]]:
            lines.append(f"{group}: {', '.join(holding)} of {place} still hold; {group}=PRESET brings its own")
        if dropped := [key for key in keys if key not in config[group]]:
            lines.append(
                f"{group}: {', '.join(dropped)} of {place} left out; {config[group].name} takes no such argument"
            )
    return lines


def _says_missing(value: Any) -> bool:
    """Return whether `???` stands anywhere in a plain value."""
    if isinstance(value, dict | list):
        return any(map(_says_missing, value.values() if isinstance(value, dict) else value))
    return bool(value == "???")


def _refuse_unknown(config: DictConfig, kind: Any, parent: str, overrides: list[str]) -> None:
    """Raise ConfigError for unknown keys: `+trainer.epoch=3` gets past Hydra's own check."""
    problems = Problems()
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    for key in map(str, config):
        if key not in fields:
            problems.add(parent + key, f"there is no such key{vocabulary.hint(parent + key, overrides)}")
        elif dataclasses.is_dataclass(fields[key]):
            with problems.collect():
                _refuse_unknown(config[key], fields[key], f"{parent}{key}.", overrides)
    problems.raise_all()


def _refuse_unused_knobs(config: DictConfig, overrides: list[str]) -> None:
    """Raise ConfigError for a typed knob that no layer uses: another one was most likely meant."""
    if not any("model.knobs." in word for word in overrides):  # to_yaml takes a while
        return
    text = OmegaConf.to_yaml(config)
    used = re.findall(r"knobs\.(\w+)", text)
    for word in overrides:
        match = re.match(r"\+*model\.knobs\.(\w+)=", word)
        if match and match[1] not in used:
            known = f" (there are {', '.join(dict.fromkeys(used))})" if used else ""
            raise ConfigError(f"model.knobs.{match[1]}", f"no layer uses it{did_you_mean(match[1], used)}{known}")


def _refuse_new_layers(overrides: list[str]) -> None:
    """Raise ConfigError for a typed layer that is not there: `model.layers.haed.Linear=3` would add one at the end."""
    problems = Problems()
    for word in overrides:
        if word.startswith("model.layers={"):
            _refuse_half_new_layers(word, overrides, problems)
        match = re.match(r"model\.layers\.([A-Za-z_]\w*)", word)
        if match and "=" in word:
            others = [other for other in overrides if "=" in other and not other.startswith("model.")]
            names = composition.origins_of(others).below("model.layers")
            if names and match[1] not in names:
                listed = ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
                problems.add(
                    f"model.layers.{match[1]}",
                    f"there is no such layer{did_you_mean(match[1], names)} (there are {listed};"
                    f" +{match[0]}... adds one at the end)",
                )
    problems.raise_all()


def _refuse_half_new_layers(word: str, overrides: list[str], problems: Problems) -> None:
    """Note a typed mapping with layers that are not there: it would be merged with those that are."""
    override = typed_words.read(word)
    typed = override.value() if override is not None else None
    others = [other for other in overrides if "=" in other and not other.startswith("model.layers")]
    names = composition.origins_of(others).below("model.layers")
    named = [name for name in names if not name.isdecimal()]
    new = [str(name) for name in typed if str(name) not in named] if isinstance(typed, dict) else []
    if named and new:
        problems.add(
            "model.layers",
            f"there is no layer {', '.join(new)} (there are {', '.join(named[:SHOWN])}), and layers by name are merged"
            " with those that are there; a list replaces them, model.layers=[...], or model=empty leaves them out",
        )


def placed(error: ConfigError, overrides: list[str]) -> str:
    """Return every problem with the file and line that sets the value, if one does."""
    lines = []
    typed = tuple(f"{plain(word.partition('=')[0].lstrip('+~'))}." for word in overrides)
    origins = Origins()
    if not all(f"{plain(problem.key)}.".startswith(typed) for problem in each(error)):
        with contextlib.suppress(Exception):  # without a place the message is complete too
            origins = composition.origins_of(overrides)
    for problem in each(error):
        lines += [problem.at(origins.of(problem.key)), *getattr(problem, "__notes__", [])]
    return "\n".join(lines)
