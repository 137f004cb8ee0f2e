"""The words of a command line that decide what Hydra reads and whose code runs."""

import dataclasses
import functools
import os
import re
from collections.abc import Sequence

from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import permission

#: Flags that make Hydra read other files than ours first, by their name in Hydra's parser, each with a remedy.
FLAGS = {
    "experimental_rerun": ("--experimental-rerun", "a rerun is a pickle, which runs code; give the overrides again"),
    "config_path": ("--config-path", "put presets into conf/ and studies into experiments/ of the working directory"),
    "config_name": ("--config-name", "put a study into experiments/NAME.yaml and type experiments=NAME"),
    "config_dir": ("--config-dir", "put presets into conf/ of the working directory"),
}
#: Groups of which nothing need be chosen: `scheduler=null`.
OPTIONAL = ("debug", "experiments", "scheduler")
#: Groups of which no preset need be chosen where a class is named beside: `loss=null loss.name=experiments.mine.Loss`.
NAMED = ("data", "loss", "optimizer")


def take_trust(words: list[str]) -> list[str]:
    """Return the words without `--trust PACKAGE`, and trust each of these packages from here on."""
    others: list[str] = []
    trusted = ",".join(permission.packages())
    rest = iter(words)
    for word in rest:
        if word != "--trust" and not word.startswith("--trust="):
            others.append(word)
            continue
        name = word.partition("=")[2] if "=" in word else next(rest, "")
        if not name.isidentifier():
            raise ConfigError("--trust", f"{name!r} is not the name of a package; expected one, as in --trust mylib")
        trusted += f",{name}"
    os.environ["RUNNER_TRUST"] = trusted
    return others


def refuse_trust(words: Sequence[str]) -> None:
    """Raise ConfigError for words by which a person lets code run, where no person has typed them."""
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        if word.startswith("-") and word not in ("-m", "--multirun", "--help", "--version"):
            raise ConfigError(key, "a flag is for a person to type; leave it out")
        if key == "code" and value == "recorded":
            raise ConfigError("code", "recorded code is run for a person alone, who has read it; leave it out")


def check(words: list[str]) -> None:
    """Raise ConfigError for flags by which Hydra would read files or pickles unchecked, and for unknown flags."""
    from runner.cli import hydra_private

    flags, unknown, message = hydra_private.parse_flags(words)
    if unknown or message:
        what = f"{unknown[0]}: this is not a flag of runner; expected key=value" if unknown else message
        raise ConfigError("", f"{what}; `runner --help` lists the flags")
    for name, (flag, remedy) in FLAGS.items():
        if getattr(flags, name):
            raise ConfigError(flag, f"this flag cannot be used here; {remedy}")


def with_removals(overrides: Sequence[str]) -> list[str]:
    """Return the overrides in the words of Hydra for leaving out.

    `scheduler=null`, and null for a layer that has a name, are `~scheduler` there; so is `loss=null` where another
    word names a class. `~trainer.average` is null, as the keys that are declared cannot be removed.
    """
    keys = {word.partition("=")[0].lstrip("+") for word in overrides}
    named = [group for group in NAMED if keys & {f"{group}.name", f"{group}._target_"}]
    return [_removal(word, [*OPTIONAL, *named]) for word in overrides]


def _removal(word: str, optional: Sequence[str]) -> str:
    key, _, value = word.partition("=")
    if value == "null" and (key in optional or re.fullmatch(r"model\.layers\.[A-Za-z_]\w*", key)):
        return f"~{key}"
    if word[:1] == "~" and not value and word[1:] in _unset():
        return f"{word[1:]}=null"
    return word


@functools.cache
def _unset() -> frozenset[str]:
    """Return the keys below a group whose default is null."""
    sections = [field for field in dataclasses.fields(Settings) if dataclasses.is_dataclass(field.type)]
    return frozenset(
        f"{section.name}.{field.name}"
        for section in sections
        for field in dataclasses.fields(section.type)  # type: ignore[arg-type]
        if field.default is None
    )
