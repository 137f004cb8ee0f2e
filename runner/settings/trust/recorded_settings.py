"""The config.yaml of a run: written so that it reads back as it was, and read like the file of a study.

The same text gives the same settings and the same refusals, whether it is in experiments/ or in a tracking store: the
limits of a file, the resolvers that a file may use, the types of the schema.
"""

import dataclasses
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from runner.settings import Settings, completed, made
from runner.settings.errors import ConfigError, Problems
from runner.settings.trust import limits, omegaconf_private, resolvers
from runner.settings.values import typed

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

#: Components take any argument, which is checked later.
_OPEN = ("data", "model", "loss", "optimizer", "scheduler")


def read(text: str, name: str) -> Settings:
    """Return the settings. name: what to call the text. Raises ConfigError for what a file would be refused for."""
    limits.check_size(len(text.encode()), name)
    limits.check_text(text, name)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = yaml.load(text, Loader=_loader())
    if not values:
        raise ConfigError(name, "the file holds no configuration; the record is damaged")
    values = completed(values)
    made(values)
    layers = _taken_out(values, text)
    try:
        with resolvers.restricted():
            omegaconf_private.replace_where_kinds_differ()  # metrics may be a mapping, where the default is a list
            config = OmegaConf.merge(schema(), values)
            refuse_missing(config)
            settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise _explained(error, name) from None
    assert isinstance(settings, Settings)
    settings.model.layers = settings.model.layers if layers is None else layers
    typed.check(settings, Settings)
    return settings


def write(config: dict[str, Any]) -> str:
    """Return the text of a resolved configuration; read back, every value is what it was."""
    text = _dumped(config, flow=False)
    # A weight of many numbers, one a line, may take more bytes than in the file that it is from.
    return text if len(text) <= limits.BYTES else _dumped(config, flow=None)


def changeable(settings: Settings) -> "DictConfig":
    """Return settings as a configuration that takes overrides. A text that looks like a reference stays a text."""
    from omegaconf import OmegaConf

    return OmegaConf.merge(schema(), escaped(dataclasses.asdict(settings)))  # type: ignore[return-value]


def schema() -> "DictConfig":
    """Return the types and defaults of every key."""
    from omegaconf import OmegaConf

    whole: DictConfig = OmegaConf.structured(Settings)
    for key in _OPEN:
        OmegaConf.set_struct(whole[key], False)
    return whole


def escaped(value: Any) -> Any:
    """Return plain values in which nothing is a reference: `${` gets a backslash, as in a file that means the text."""
    if isinstance(value, dict):
        return {key: escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [escaped(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", value)
    return value


def _taken_out(values: dict[str, Any], text: str) -> Any:
    """Remove layers without references and return them: OmegaConf takes half a minute for 100,000 weights."""
    model = values.get("model")
    if "${" in text or "???" in text or not isinstance(model, dict) or model.get("layers") is None:
        return None
    layers = model["layers"]
    values["model"] = {key: value for key, value in model.items() if key != "layers"}
    return layers


def refuse_missing(config: Any) -> None:
    """Raise ConfigError for every value that is `???`: OmegaConf would take the default."""
    from omegaconf import OmegaConf

    problems = Problems()
    for key in sorted(OmegaConf.missing_keys(config)):
        problems.add(key, "has no value; ??? stands for one that has to be given")
    problems.raise_all()


def _explained(error: "OmegaConfBaseException", name: str) -> ConfigError:
    from runner.settings.values import omegaconf_errors

    return ConfigError(omegaconf_errors.key(error) or name, f"{omegaconf_errors.problem(error)} (in {name})")


def _dumped(config: dict[str, Any], flow: bool | None) -> str:
    dumper, shown = _dumper(), escaped(config)
    return str(yaml.dump(shown, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow))


@cache
def _dumper() -> Any:
    """Return YAML's dumper, in C if there is one, that quotes what a file's reader would take for a number."""
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type("Dumper", (base,), {"ignore_aliases": lambda self, data: True})
    dumper.add_representer(str, _represented)
    return dumper


@cache
def _loader() -> Any:
    """Return YAML's loader, in C if there is one, that reads numbers as files are read, and no dates."""
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    forms = {
        first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
        for first, forms in base.yaml_implicit_resolvers.items()
    }
    loader: Any = type("Loader", (base,), {"yaml_implicit_resolvers": forms})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
    return loader


#: A number to the reader of files alone: without a point, or without a sign after the e.
_EXPONENT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
#: Numbers to the reader of files, which PyYAML's own reader takes for words: `1e5`, `1_0.5e3`, `+.1e+5`.
_NUMBER = re.compile(r"[-+]?(\.?[0-9][0-9_.]*([eE][-+]?[0-9]+)?|\.(inf|nan))", re.IGNORECASE)


def _represented(dumper: Any, value: str) -> Any:
    style = "'" if _NUMBER.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
