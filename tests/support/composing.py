"""Composes and checks configurations in this process, as the command line does in one of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, flag_override

from runner.cli.answers import all_problems
from runner.cli.compose import configuration, trials
from runner.cli.guard import composition
from runner.commands._words import indexed
from runner.settings import Settings
from runner.settings.files import places
from runner.settings.trust import permission, secrets
from runner.settings.values.lookup import use_folder
from runner.training.checking import checks


@contextlib.contextmanager
def hydra() -> Iterator[None]:
    """Hydra as `runner` sets it up, for the working directory."""
    before = os.environ.get(places.ACTIVE)
    os.environ[places.ACTIVE] = "1"
    for folder in reversed(places.experiments()):
        use_folder(folder)
    trials.register()
    composition.install()
    try:
        with secrets.forgetting(), initialize_config_dir(version_base="1.3", config_dir=str(places.conf())):
            yield
    finally:
        os.environ.pop(places.ACTIVE) if before is None else os.environ.update({places.ACTIVE: before})


def config(words: list[str]) -> DictConfig:
    """The composed configuration without Hydra's own part; a person has typed the words."""
    permission.begin(words)
    found = compose("config", overrides=words, return_hydra_config=True)
    HydraConfig.instance().set_config(found)
    with flag_override(found, ["struct", "readonly"], [False, False]):
        del found["hydra"]
    return found


def settings(*words: str) -> Settings:
    told = [indexed(word) for word in words]
    return configuration.settings(config(told), told)


def problem(*words: str) -> str:
    """What the command line would say of this configuration; nothing if it is right."""
    told = [indexed(word) for word in words]
    try:
        composed_ones = config(told)
    except Exception as error:
        return all_problems.report(error, told)
    try:
        checks.check(configuration.settings(composed_ones, told))
    except configuration.ERRORS as error:
        return all_problems.report(error, told)
    return ""


def shown(message: str, folder: Path) -> str:
    """The message with the working directory called ~."""
    return message.replace(str(folder), "~")
