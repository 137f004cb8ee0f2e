"""The resolvers, `${name:...}`, that a configuration may use: of a file, the command line or a record."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import expansion, permission

#: Resolvers that a configuration may use: they see the configuration, the time and the variables below.
RESOLVERS = (
    "hydra",
    "now",
    "oc.create",
    "oc.decode",
    "oc.deprecated",
    "oc.dict.keys",
    "oc.dict.values",
    "oc.env",
    "oc.select",
    "python_version",
)
#: Environment variables that `oc.env` may read; RUNNER_ENV=NAME,NAME of the person's adds more.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HOME",
    "LOCAL_RANK",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACKING_URI",
    "RANK",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
    "TMPDIR",
    "USER",
    "WORLD_SIZE",
)
_lock = threading.RLock()


def restrict() -> Callable[[], None]:
    """Remove all other resolvers from this process and limit what references stand for. Returns what ends the limit."""
    from omegaconf import OmegaConf

    from runner.settings.trust import omegaconf_private

    for name in [name for name in omegaconf_private.resolvers() if name not in RESOLVERS]:
        OmegaConf.clear_resolver(name)
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)
    return expansion.install()


@contextlib.contextmanager
def restricted() -> Iterator[None]:
    """Remove them within the block alone: `runner.load` is called from any program, which may have its own."""
    from runner.settings.trust import omegaconf_private

    with _lock:
        before = omegaconf_private.resolvers()
        restore = restrict()
        try:
            yield
        finally:
            restore()
            omegaconf_private.set_resolvers(before)


def _variable(name: str, *default: Any) -> Any:
    """Return an environment variable for `${oc.env:NAME,DEFAULT}`. Raises ConfigError for one that is not allowed."""
    allowed = [*VARIABLES, *permission.variables()]
    if name not in allowed:
        raise ConfigError(
            f"oc.env:{name}",
            f"this is a variable that a configuration may not read{did_you_mean(name, allowed)};"
            f" allow it with RUNNER_ENV={name} (it may read {', '.join(allowed)})",
        )
    if len(default) > 1:
        raise ConfigError(f"oc.env:{name}", f"expected at most one default, as in ${{oc.env:{name},x}}")
    if name in os.environ:
        return os.environ[name]
    if not default:
        raise ConfigError(f"oc.env:{name}", f"the variable is not set; set it, or give a default: ${{oc.env:{name},x}}")
    return default[0]
