"""The texts of `runner --help` and of `runner COMMAND --help`, made without composing a configuration."""

import importlib
import inspect
import re
import string
from importlib import metadata
from typing import Any

from runner import __version__
from runner.commands import _words
from runner.settings.files import places
from runner.settings.values import keys

#: Arguments that mean the same for every command.
MEANINGS = {
    "RUN": _words.RUN,
    "EXPERIMENT": "the name of an experiment or a study; or a sweep's id, a prefix of it, or `last`",
    "checkpoint": "best or last: which of the run's checkpoints",
    "elements": "how many elements of each output; or one of them, as in elements=[0,3,2,2] layer=NAME",
    "format": "pt2, onnx or safetensors",
    "NAME": "of the folder, which is made; it may be there already if nothing is in it",
    "SHELL": "bash, zsh or fish",
    "inputs": "what the model is asked about",
    "keep": "true: add what is printed to the run's artifacts",
    "layer": "the name of one layer; without it, all",
    "output": "the file that is written",
    "overwrite": "true: write over a file that is there already",
    "raw": "false: the inputs are standardized already",
    "prompt": "the beginning of the text; without it, a token drawn from all alike",
    "length": "tokens that are drawn",
    "temperature": "below 1 the likely tokens are drawn more often; 0 takes the likeliest",
    "top_k": "only the k likeliest tokens are drawn",
    "seed": "of the draws",
    "split": "train, valid or test: the part of the data",
    "tracking.uri": "the store with the run, where it is not MLFLOW_TRACKING_URI or mlflow.db here",
    "RUN ...": "further runs",
    "TEXT": "words in quotes",
    "KEY=VALUE": "a tag and its text, as in owner=ada; owner=null removes it",
    "yes": "true: remove it without a question",
    "OVERRIDE": "key=value or group=preset, such as experiments=digits_cnn optimizer.lr=0.1",
    "-m": "one job for every combination of values that commas separate, as in optimizer.lr=0.1,0.5",
}
#: The meaning of OVERRIDE for a recorded configuration.
RECORDED = "key=value, such as trainer.epochs=40, in the place of what was recorded"
#: The words that follow each command in its example.
EXAMPLES = {
    "again": "last optimizer.lr=0.01",
    "best": "digits_mlp over=seed",
    "check": "experiments=digits_cnn optimizer.lr=0.01",
    "completion": "bash",
    "evaluate": "last split=valid",
    "explain": "experiments=conv1d_channels",
    "export": "last format=pt2 output=model.pt2",
    "init": "my_project",
    "find_lr": "experiments=digits_cnn",
    "predict": "last inputs=x.npy output=pred.npy",
    "reproduce": "last",
    "clean": "yes=true",
    "delete": "3f9a1b2c",
    "note": "last 'the first with augmentation'",
    "restore": "3f9a1b2c",
    "tag": "last owner=ada paper=fig3",
    "resume": "last trainer.epochs=40",
    "runs": '"valid/loss < 0.1" sort=valid/loss columns=[name,valid/loss,optimizer.lr]',
    "sample": "last prompt='To be' length=300 temperature=0.8",
    "show": "last",
    "experiments": "digits",
    "mcp": "",
    "schema": "results > results.json",
    "summary": "experiments=digits_cnn",
    "sync": "tracking.uri=http://other:5000",
    "train": "experiments=digits_cnn trainer.epochs=3",
    "ui": "experiments=digits_cnn",
}
#: Commands whose overrides make a sweep with -m.
SWEEPS = ("check", "train")
#: Commands about a store, whatever the experiment.
STORES = ("sync",)


def versions() -> dict[str, str]:
    """Return the versions of runner and of the packages that decide its numbers, without loading any of them."""
    names = ("torch", "mlflow", "hydra-core", "omegaconf")
    return {"runner": __version__, **{name: metadata.version(name) for name in names}}


def version() -> str:
    """Return `versions` in one line."""
    own, *others = (f"{name} {number}" for name, number in versions().items())
    return f"{own} ({', '.join(others)})"


def overview() -> str:
    """Return the commands, the presets and studies by their groups, and the keys of the configuration.

    The commands stand in conf/config.yaml, where Hydra reads them for `runner --help OVERRIDE ...`.
    """
    import yaml

    text = (places.conf() / "config.yaml").read_text(encoding="utf-8")
    template = yaml.safe_load(text)["hydra"]["help"]["template"].replace("$CONFIG", "$KEYS")
    groups = {**{group: places.presets(group) for group in places.groups()}, "experiments": places.studies()}
    listed = "\n".join(f"{group}: {', '.join(names)}" for group, names in sorted(groups.items()) if names)
    parts = template.partition("The configuration that would be used")
    known = "Keys (key=VALUE; `runner --cfg job` prints each with its value):\n\n$KEYS\n\n"
    rest = parts[2].partition("$KEYS")[2].lstrip("\n")
    return string.Template(parts[0] + known + rest).substitute(APP_CONFIG_GROUPS=listed, KEYS=_keys()).rstrip()


def _keys() -> str:
    """Return the keys of the settings, a line for each part; arguments of components are those of their classes."""
    parts: dict[str, list[str]] = {}
    for key in keys.declared():
        part, dot, rest = key.partition(".")
        parts.setdefault(f"{part}." if dot else "", []).append(rest or part)
    lines = [f"{part}{{{', '.join(names)}}}" if part else ", ".join(names) for part, names in parts.items()]
    return "\n".join([*lines, *(f"{name}.ARGUMENT" for name in keys.COMPONENTS)])


def command(name: str) -> str:
    """Return usage, purpose, arguments with meanings and defaults, and an example of a command."""
    module = importlib.import_module(f"runner.commands.{name}")
    usages, texts, meanings_of = [], [], {}
    for function in filter(None, (getattr(module, part, None) for part in ("with_settings", "with_run", "with_words"))):
        usages.append(f"runner {name} {_usage(name, function)}".rstrip())
        text, meanings = _parted(inspect.getdoc(function) or "")
        texts.append(text)
        for key, default in _arguments(name, function).items():
            meaning = RECORDED if key == "OVERRIDE" and "change" in inspect.signature(function).parameters else ""
            meaning = meaning or meanings.get(key) or meanings.get(key.lower()) or MEANINGS.get(key, "")
            meanings_of[key] = _line(meaning, default)
    width = max(map(len, meanings_of), default=0)
    arguments = [f"  {key:<{width}}  {line}".rstrip() for key, line in meanings_of.items()]
    usage = "\n       ".join(usages)
    return "\n\n".join(
        part
        for part in (
            f"usage: {usage}",
            *texts,
            "\n".join(arguments),
            f"example: runner {name} {EXAMPLES.get(name, '')}".rstrip(),
            "`runner --help` lists the commands and presets, `runner --cfg job` every key with its value.",
        )
        if part
    )


def _usage(name: str, function: Any) -> str:
    arguments = _arguments(name, function)
    keys = [key if key.isupper() or key == "-m" else f"{key}=..." for key in arguments]
    needed = {f"{key}=..." for key, default in arguments.items() if default is inspect.Parameter.empty}
    if function.__name__ != "with_settings":
        needed |= {key.upper() for key, is_needed in _words.takes(function).items() if is_needed}
    ends = {"OVERRIDE": "[OVERRIDE ...]", "KEY=VALUE": "KEY=VALUE [KEY=VALUE ...]"}
    return " ".join(key if key in needed else ends.get(key, f"[{key}]") for key in keys)


def _arguments(name: str, function: Any) -> dict[str, Any]:
    """Return what may follow the command, with defaults: None for no default to show, `empty` for a needed one."""
    parameters = inspect.signature(function).parameters
    own = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    if function.__name__ == "with_settings":
        over = {"tracking.uri": None} if name in STORES else {"OVERRIDE": None}
        return {**({"-m": None} if name in SWEEPS else {}), **own, **over}
    words: dict[str, Any] = {key.upper(): None for key in _words.takes(function)}
    kinds = {parameter.kind for parameter in parameters.values()}
    words |= {"RUN ...": None} if inspect.Parameter.VAR_POSITIONAL in kinds else {}
    words |= {"KEY=VALUE": None} if inspect.Parameter.VAR_KEYWORD in kinds else {}
    further = {"tracking.uri": "uri", "OVERRIDE": "change"}
    return {**words, **own, **{key: None for key, parameter in further.items() if parameter in parameters}}


def _line(meaning: str, default: Any) -> str:
    """Return a meaning with the default."""
    if default is inspect.Parameter.empty:
        return f"{meaning} (needed)"
    return meaning if default in (None, "") else f"{meaning} (default: {default})"


def _parted(text: str) -> tuple[str, dict[str, str]]:
    """Return a docstring without its lines `argument: meaning`, and these meanings."""
    meanings: dict[str, str] = {}
    others: list[str] = []
    last = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"([a-z_]+): (.+)", line):
            last = match[1]
            meanings[last] = match[2].rstrip(".")
        elif last and line.startswith("    "):
            meanings[last] += f" {line.strip()}".rstrip(".")
        else:
            last = ""
            others.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(others)).strip(), meanings
