"""What may follow on a command line: commands, flags, presets, experiments, keys, values and runs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from runner.cli.completion import commands, configuration, stores
from runner.commands.completion import SCRIPTS
from runner.settings.files import places

#: A candidate, and its meaning for a person.
Candidate = tuple[str, str]

FLAGS = {
    "-m": "a run for each combination of values that commas separate",
    "--cfg": "print the configuration: --cfg job",
    "--resolve": "with --cfg: values in the place of references",
    "--help": "the commands, or the arguments of one",
    "--version": "versions of runner and of what it needs",
    "--json": "one JSON object a line, for programs",
    "--trust": "allow code of your own package: --trust PACKAGE",
}
#: Hydra's groups -> what a person may choose.
HYDRA = {
    "hydra/launcher": ("one_by_one", "vectorized", "auto", "joblib", "submitit_local", "submitit_slurm", "ray"),
    "hydra/sweeper": ("checked", "optuna"),
}
TRUTH = ("true", "false")
#: Keys of the configuration and of commands -> their values.
VALUES = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "checkpoint.format": ("state_dict", "model", "both"),
    "trainer.mode": ("min", "max"),
    "trainer.test_checkpoint": ("best", "last", "averaged"),
    "trainer.precision": ("fp32", "fp64", "bf16", "fp16"),
    "trainer.matmul_precision": ("highest", "high", "medium"),
    "sweep.keep": ("all", "best", "none"),
    "sweep.pruner": ("asha", "median"),
    "split": ("train", "valid", "test"),
    "checkpoint": ("best", "last"),
    "code": ("current", "recorded"),
    "format": ("pt2", "onnx", "safetensors"),
    **dict.fromkeys(("keep", "overwrite", "raw"), TRUTH),
}
#: Keys whose value is a file.
FILES = re.compile(r"(^|\.)(path|inputs|output|file)$|^data\.[xy]$")
#: Parameters of commands that are words without a key, by what they name.
RUNS = ("run", "other", "one", "two", "first", "second", "a", "b")
#: What needs no quotes in a shell.
PLAIN = re.compile(r"[\w@%+=:,./~\[\]-]*")


def candidates(words: list[str], current: str) -> list[Candidate]:
    """Return what may stand in the place of the word `current`, which begins like it, with its meaning.

    words: those before it, without `runner`.
    """
    found = list(dict.fromkeys(_found(words, current)))
    kept = {text: meaning for text, meaning in found if text.startswith(current) and PLAIN.fullmatch(text)}
    return [(text, _clean(meaning)) for text, meaning in kept.items()]


def _found(words: list[str], current: str) -> Iterator[Candidate]:
    before = words[-1] if words else ""
    if before in ("--cfg", "-c"):
        yield from (("job", "the experiment"), ("hydra", "Hydra's own part"), ("all", "both"))
        return
    if current.startswith("-"):
        yield from FLAGS.items()
        return
    bare = [word for word in words if "=" not in word and not word.startswith(("-", "~", "+")) and word != "job"]
    helps = bare[:1] == ["help"]
    name = next(iter(bare[1:] if helps else bare), "")
    if name not in commands.names():
        name = ""
    if not name and all(word.startswith("-") for word in words if word != "help"):
        yield from ((one, commands.meaning(one)) for one in commands.names())
    if helps:
        return
    takes = commands.takes(name or "train")
    if "=" in current:
        yield from _values(takes, words, *current.partition("=")[::2])
        return
    place = len(bare) - 1 if name else 0
    if name and place < len(takes.words):
        yield from _word(takes.words[place], words)
    yield from ((f"{key}=", "") for key in takes.keys)
    if takes.store:
        yield "tracking.uri=", "the store"
    if takes.overrides:
        yield from _keys(words, current)


def _word(kind: str, words: list[str]) -> Iterator[Candidate]:
    """Yield words without a key of a command: runs, experiments of the store, shells."""
    if kind in RUNS:
        yield "last", "the newest run"
        yield from stores.runs(stores.uri(words))
    elif kind == "experiment":
        yield from ((name, "") for name in stores.experiments(stores.uri(words)))
    elif kind == "of":
        yield from (("configuration", "of YAML files, for editors"), ("results", "of what --json prints"))
    elif kind == "shell":
        yield from ((name, "") for name in SCRIPTS)


def _keys(words: list[str], current: str) -> Iterator[Candidate]:
    """Yield groups and keys, as far as the next dot: `trainer.`, then `trainer.epochs=`."""
    sign = current[:1] if current[:1] in ("~", "+") else ""
    typed = current[len(sign) :]
    yield f"{sign}experiments=", "an experiment of this folder, or of runner"
    yield from ((f"{sign}{group}=", "a preset") for group in [*places.groups(), *HYDRA])
    depth = typed.count(".") + 1
    values = configuration.values(words)
    for key, value in values.items():
        parts = key.split(".")
        if len(parts) > depth:
            yield f"{sign}{'.'.join(parts[:depth])}.", ""
        elif len(parts) == depth:
            yield (f"~{key}", "left out") if sign == "~" else (f"{sign}{key}=", configuration.shown(key, value))


def _values(takes: commands.Takes, words: list[str], key: str, typed: str) -> Iterator[Candidate]:
    """Yield `key=value` for the values of a key; those that a comma separates from others are completed, too."""
    name = key.lstrip("+~")
    done = typed[: typed.rfind(",") + 1] if "[" not in typed and not FILES.search(name) else ""
    for value, meaning in _values_of(takes, words, name, typed):
        yield f"{key}={done}{value}", meaning


def _values_of(takes: commands.Takes, words: list[str], name: str, typed: str) -> Iterator[Candidate]:
    if name == "experiments":
        yield from configuration.studies(typed)
    elif name in places.groups() and name not in takes.keys:
        yield from ((preset, configuration.first_words(name, preset)) for preset in places.presets(name))
        if name == "scheduler":
            yield "null", "none"
    elif name in HYDRA:
        yield from ((one, "") for one in HYDRA[name])
    elif name == "tracking.experiment":
        yield from ((one, "") for one in stores.experiments(stores.uri(words)))
    elif name in ("model.start.run", "run"):
        yield from stores.runs(stores.uri(words))
    elif FILES.search(name):
        yield from _files(typed)
    elif name in VALUES:
        yield from ((one, "") for one in VALUES[name])
    elif (value := configuration.values(words).get(name)) is not None:
        both = TRUTH if isinstance(value, bool) else (configuration.text(value),)
        yield from ((one, "as it is" if one == configuration.text(value) else "") for one in both)


def _files(typed: str) -> Iterator[Candidate]:
    """Yield the files and folders that begin as typed."""
    folder = typed.rpartition("/")[0] + "/" * ("/" in typed)
    for entry in sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda one: one.name):
        if not entry.name.startswith(".") or typed[len(folder) :].startswith("."):
            yield f"{folder}{entry.name}" + "/" * entry.is_dir(), ""


def _clean(text: str) -> str:
    """Return a text without anything that a terminal would act on."""
    return "".join(one if one.isprintable() else " " for one in text).strip()
