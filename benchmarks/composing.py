"""Settings and jobs, composed in this process as the command line composes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hydra() -> Iterator[None]:
    """Set Hydra up as `runner` does, for the block."""
    from hydra import initialize_config_dir

    from runner.cli.compose import trials
    from runner.cli.guard import composition
    from runner.settings.files import places

    os.environ[places.ACTIVE] = str(os.getpid())
    trials.register()
    composition.install()
    with initialize_config_dir(str(places.conf()), version_base="1.3"):
        yield


def settings(experiment: str, device: str = "cpu") -> Any:
    """Return the settings that `runner experiments=NAME` trains with, without plots."""
    from hydra import compose
    from omegaconf import OmegaConf

    with hydra():
        config = compose("config", [f"experiments={experiment}", f"device={device}", "plots=[]"])
    return OmegaConf.to_object(config)


@contextmanager
def composer() -> Iterator[Any]:
    """Yield what composes the jobs of a sweep."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from runner.cli.compose.composing import Composing

    with hydra():
        loader: Any = GlobalHydra.instance().config_loader()
        yield Composing(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))
