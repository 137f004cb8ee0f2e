"""Models of torchvision, timm and transformers, by their own names and arguments, without weights.

The three are trusted by name: what may be named is a module class, or a function that the package itself lists as one
that builds a model. Nothing is loaded: arguments that name weights or other files are refused, and while a model is
built this thread has no network. Weights come from `model.start`.
"""

import contextlib
import importlib
import inspect
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn

from runner.settings.errors import ConfigError, brief, did_you_mean

PACKAGES = {"torchvision": "vision", "timm": "hub", "transformers": "hub"}
#: Arguments that load files, or have the package fetch them; null, false and "" load nothing.
LOADING = (
    "weights", "weights_backbone", "pretrained", "pretrained_backbone", "checkpoint_path", "pretrained_cfg",
    "pretrained_cfg_overlay", "pretrained_strict", "cache_dir", "use_pretrained_backbone", "auto_map",
    "trust_remote_code", "quantization_config", "pretrained_model_name_or_path",
)  # fmt: skip


def is_named(name: Any) -> bool:
    """Return whether a name is that of something in one of the packages."""
    return isinstance(name, str) and name.partition(".")[0] in PACKAGES and "." in name


def find(name: str, key: str) -> Callable[..., nn.Module]:
    """Return what builds the model of this name, with a signature as other layers have. Raises ConfigError.

    torchvision: a builder such as `torchvision.models.resnet18`, or a module class. timm: `timm.create_model`, or a
    builder such as `timm.models.resnet18`. transformers: a model's class, whose argument is its `config`, a mapping.
    """
    package = name.partition(".")[0]
    thing = _import(name, package, key)
    found = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}[package](thing)
    if found is None:
        hint = "; it has weights loaded, which model.start does here" if name.endswith("from_pretrained") else ""
        raise ConfigError(
            key, f"{name!r} is neither a module class nor a function that {package} lists as a model's{hint}"
        )
    return found  # type: ignore[no-any-return]


def _import(name: str, package: str, key: str) -> Any:
    parts = name.split(".")
    try:
        thing: Any = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ConfigError(key, f"importing {package} failed: {brief(error)}") from error
        extra = PACKAGES[package]
        raise ConfigError(key, f"{package} is not installed: pip install 'runner-torch[{extra}]'") from error
    except Exception as error:
        raise ConfigError(key, f"importing {package} failed: {brief(error)}") from error
    for number, part in enumerate(parts[1:], 2):
        if not part.isidentifier() or part.startswith("_"):
            raise ConfigError(key, f"{name!r} is no dotted name of something public")
        if inspect.ismodule(thing):
            with contextlib.suppress(ModuleNotFoundError):
                if not hasattr(thing, part) and thing.__name__ == ".".join(parts[: number - 1]):
                    importlib.import_module(".".join(parts[:number]))
        near = did_you_mean(part, dir(thing)) if not hasattr(thing, part) else ""
        if (inner := getattr(thing, part, None)) is None:
            raise ConfigError(key, f"{'.'.join(parts[: number - 1])} has no {part!r}{near}")
        thing = inner
    return thing


def _torchvision(thing: Any) -> Any:
    from torchvision import models

    if _is_module_of(thing, "torchvision"):
        return _building(thing, thing, thing.__name__, thing.__module__, inspect.signature(thing))
    if not inspect.isfunction(thing) or thing.__name__ not in models.list_models():
        return None
    if models.get_model_builder(thing.__name__) is not thing:
        return None
    return _building(thing, thing, thing.__name__, thing.__module__, inspect.signature(thing))


def _timm(thing: Any) -> Any:
    import timm

    def create(model_name: str, in_chans: int, **arguments: Any) -> nn.Module:
        if ":" in model_name:
            raise ValueError(f"model_name: {model_name!r} names files; expected a name of timm.list_models()")
        return timm.create_model(model_name, in_chans=in_chans, **arguments)  # type: ignore[no-any-return]

    if thing is timm.create_model:
        return _building(thing, create, "create_model", "timm", inspect.signature(create))
    if inspect.isfunction(thing) and timm.is_model(thing.__name__) and timm.model_entrypoint(thing.__name__) is thing:
        name = thing.__name__

        def one(in_chans: int, **arguments: Any) -> nn.Module:
            return create(name, in_chans, **arguments)

        return _building(thing, one, name, thing.__module__, inspect.signature(one))
    if _is_module_of(thing, "timm"):
        return _building(thing, thing, thing.__name__, thing.__module__, inspect.signature(thing))
    return None


def _transformers(thing: Any) -> Any:
    import transformers

    automatic = inspect.isclass(thing) and thing.__module__ == "transformers.models.auto.modeling_auto"
    if not automatic and not (inspect.isclass(thing) and issubclass(thing, transformers.PreTrainedModel)):
        return None

    def build(config: dict[str, Any] | None = None) -> nn.Module:
        values = dict(config or {})
        _refuse_loading(values)
        if "/" in str(values.get("attn_implementation", "")):
            raise ValueError("attn_implementation names files of a hub")
        if automatic:
            made = transformers.AutoConfig.for_model(values.pop("model_type", None), **values)
            return thing.from_config(made)  # type: ignore[no-any-return]
        values.pop("model_type", None)
        made = thing.config_class(**values)
        if getattr(made, "use_pretrained_backbone", False):
            made.use_pretrained_backbone = False
        return thing(made)  # type: ignore[no-any-return]

    return _building(thing, build, thing.__name__, thing.__module__, inspect.signature(build))


def _is_module_of(thing: Any, package: str) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module) and thing.__module__.partition(".")[0] == package


@cache
def _named(thing: Any) -> list[Any]:
    """Return a place for what builds the model of `thing`, so that there is one for each."""
    return []


def _building(thing: Any, make: Any, name: str, module: str, signature: inspect.Signature) -> Any:
    """Return a function of `make`'s arguments that loads nothing."""
    if _named(thing):
        return _named(thing)[0]

    def build(**arguments: Any) -> nn.Module:
        _refuse_loading(arguments)
        nothing = {key: None for key in ("weights", "weights_backbone") if key in signature.parameters}
        with _without_network(name):
            return make(**{**arguments, **nothing})  # type: ignore[no-any-return]

    build.__name__, build.__qualname__, build.__module__ = name, name, module
    build.__signature__ = signature  # type: ignore[attr-defined]
    _named(thing).append(build)
    return build


def _refuse_loading(arguments: Mapping[str, Any]) -> None:
    for name in LOADING:
        if arguments.get(name):
            raise ValueError(
                f"{name}: {arguments[name]!r} has weights or other files loaded; leave it out, and name a file or a run"
                " in model.start"
            )


@contextlib.contextmanager
def _without_network(name: str) -> Iterator[None]:
    """Refuse connections of this thread in the block: others may deliver a run's record meanwhile."""
    own, connect = threading.get_ident(), socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> Any:
        if threading.get_ident() == own:
            raise OSError(f"{name} would load something from the network, which a configuration cannot ask for")
        return connect(self, address)

    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
