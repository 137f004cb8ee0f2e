"""A limit for the references of a configuration: forty lines of `a: ${b}${b}` double a text forty times."""

import functools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import limits

_here = threading.local()


class Exceeds(ConfigError):
    """A configuration whose references grow beyond the limits. OmegaConf rebuilds an error from its message alone."""

    def __init__(self, problem: str) -> None:
        super().__init__("", problem)


def install() -> Callable[[], None]:
    """Count the references that OmegaConf resolves from here on. Returns a function that ends the counting."""
    from runner.settings.trust import omegaconf_private

    return omegaconf_private.wrap_resolving(partial(_counted, weight=1), partial(_counted, weight=0))


def _counted(call: Callable[..., Any], weight: int) -> Callable[..., Any]:
    """Return `call` with a limit: the calls within an outermost one are counted together, each by `weight`.

    Raises Exceeds from the outermost call: a reference to references counts for all of them.
    """

    @functools.wraps(call)
    def counting(*positional: Any, **named: Any) -> Any:
        outermost = not getattr(_here, "inside", False)
        if outermost:
            _here.inside, _here.count, _here.problem = True, 0, ""
        try:
            _here.count += weight
            if _here.count > limits.REFERENCES:
                _here.problem = f"references (${{...}}) stand for more than {limits.REFERENCES:,} others; use fewer"
                raise Exceeds(_here.problem)
            value = call(*positional, **named)
            if weight and isinstance(value, str) and len(value) > limits.BYTES:
                _here.problem = f"references (${{...}}) make a text of more than {limits.BYTES:,} characters; use fewer"
                raise Exceeds(_here.problem)
        except Exception:
            if outermost and _here.problem:  # some callers drop an error of OmegaConf's and begin anew
                raise Exceeds(_here.problem) from None
            raise
        finally:
            if outermost:
                _here.inside = False
        return value

    return counting
