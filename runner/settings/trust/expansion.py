"""A limit for the references of a configuration: forty lines of `a: ${b}${b}` double a text forty times."""

import functools
import threading
from collections.abc import Callable
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import limits

_here = threading.local()


class Exceeds(ConfigError):
    """Made of its message alone, as OmegaConf makes the errors that it passes on."""

    def __init__(self, problem: str) -> None:
        super().__init__("", problem)


def install() -> Callable[[], None]:
    """Count in OmegaConf from here on. Gives what takes it back."""
    from omegaconf.base import Container
    from omegaconf.basecontainer import BaseContainer

    if hasattr(Container.resolve_parse_tree, "counted"):
        return lambda: None
    resolve, content = Container.resolve_parse_tree, BaseContainer._to_content
    Container.resolve_parse_tree = _counted(resolve, 1)  # type: ignore[method-assign]
    BaseContainer._to_content = staticmethod(_counted(content, 0))  # type: ignore[method-assign]

    def restore() -> None:
        Container.resolve_parse_tree = resolve  # type: ignore[method-assign]
        BaseContainer._to_content = staticmethod(content)  # type: ignore[method-assign]

    return restore


def _counted(call: Callable[..., Any], weight: int) -> Callable[..., Any]:
    """`call`, all calls within it counted together, so that references to references are."""

    @functools.wraps(call)
    def counting(*given: Any, **named: Any) -> Any:
        outermost = not getattr(_here, "inside", False)
        if outermost:
            _here.inside, _here.count, _here.problem = True, 0, ""
        try:
            _here.count += weight
            if _here.count > limits.REFERENCES:
                _here.problem = f"references (${{...}}) stand for more than {limits.REFERENCES:,} others; use fewer"
                raise Exceeds(_here.problem)
            found = call(*given, **named)
            if weight and isinstance(found, str) and len(found) > limits.BYTES:
                _here.problem = f"references (${{...}}) make a text of more than {limits.BYTES:,} characters; use fewer"
                raise Exceeds(_here.problem)
        except Exception:
            if outermost and _here.problem:  # OmegaConf's own errors are left aside by some, and all would begin anew
                raise Exceeds(_here.problem) from None
            raise
        finally:
            if outermost:
                _here.inside = False
        return found

    counting.counted = True  # type: ignore[attr-defined]
    return counting
