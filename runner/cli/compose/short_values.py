"""Short values of layers, `{Linear: 10}`, by the name of the argument that they give, to set others beside them."""

from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import omegaconf_private


def keep() -> None:
    """Have a short value stay where arguments are set beside it, of whatever is composed in this process."""
    omegaconf_private.keep_short_values(spelled)


def spelled(name: str, value: Any) -> dict[str, Any] | None:
    """Return a layer's arguments by name: of `Linear` and 10, `{out_features: 10}`.

    None where the value gives no single argument: there is no such layer, or the value is a Sequential's layers.
    """
    from runner.model import classes, specs  # which import torch

    try:
        target = classes.find(name, "")
        parameters = specs.signature(target)
        arguments = specs.arguments(target, parameters, value, "")
    except (ConfigError, TypeError, ValueError):  # the checks look it up again, and report it
        return None
    several = [one for one in arguments if parameters[one].kind is parameters[one].VAR_POSITIONAL]
    return None if several or not arguments else arguments
