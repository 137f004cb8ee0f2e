"""The command line that was meant by a wrong one; it is tried before it is shown."""

import contextlib
import re
import shlex
from collections.abc import Iterator

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from runner.cli.answers import vocabulary
from runner.cli.compose import configuration, trials
from runner.cli.guard import composition
from runner.commands import _words
from runner.settings.errors import Problems
from runner.settings.files import places
from runner.settings.trust import typed_words

#: Candidates for a word that are tried.
MOST = 4
#: Parts of the messages about a word that may be mistyped.
SIGNS = (
    "there is no such key",
    "takes no argument",
    "no layer uses it",
    "is not key=value",
    "not a flag",
    "be in quotes",
    "give the name of a class or function",
    "there is no preset",
)


def added(message: str, command: str, typed: list[str]) -> str:
    """Return a message with the command line that was meant below it, where the message is about a mistyped word."""
    meant = line(command, typed) if any(sign in message for sign in SIGNS) else ""
    return f"{message}\n{meant}" if meant else message


def line(command: str, typed: list[str]) -> str:
    """Return `try: runner ...`, or "" where no reading of what was typed is a right configuration."""
    with contextlib.suppress(Exception), _composer():
        meant = _words.flags_first(_moved(spelled(typed)))
        for reading in (meant, *([["-m", *meant]] if _sweeps(meant) else [])):  # a value such as 0.1,0.2
            if reading != _words.flags_first(typed) and _is_right(reading):
                return f"try: {shlex.join(['runner', *([] if command == 'train' else [command]), *reading])}"
    return ""


def tried(typed: list[str]) -> str:
    """Return `try: runner ...` with these words as they are, or "" if they are no right configuration."""
    with contextlib.suppress(Exception), _composer():
        if _is_right(typed):
            return f"try: {shlex.join(['runner', *_words.flags_first(typed)])}"
    return ""


def spelled(typed: list[str]) -> list[str]:
    """Return the words as key=value: `--epochs 3`, `lr = 0.1`, `lr:0.1` and the name of a study become it."""
    spelled_words: list[str] = []
    rest = list(typed)
    while rest:
        word = rest.pop(0)
        if word in _words.ALONE or word in _words.WITH_VALUE:
            spelled_words += [word, *([rest.pop(0)] if word in _words.WITH_VALUE and rest else [])]
            continue
        if word.startswith("-") and len(word) > 1:
            key, equals, value = word.lstrip("-").partition("=")
            word = key.replace("-", "_") + equals + value
            if not equals and (not rest or not _is_value(rest[0])):
                word += "=true"
        word = re.sub(r"^\s*([^=\s]+)\s*=+\s*", r"\1=", _joined(word, rest))
        if "=" not in word and (match := re.fullmatch(r"([A-Za-z_][\w.]*):(.+)", word)):
            word = f"{match[1]}={match[2]}"
        spelled_words.append(_chosen(word) if "=" not in word else _as_class(typed_words.quoted(word)))
    return spelled_words


def _as_class(word: str) -> str:
    """Return `optimizer.name=NAdam` for `optimizer=NAdam`, where there is no such preset."""
    group, _, value = word.partition("=")
    if group in ("loss", "optimizer", "scheduler") and value.isidentifier() and value[0].isupper():
        return word if value in places.presets(group) else f"{group}.name={value}"
    return word


def _joined(word: str, rest: list[str]) -> str:
    """Return a word with the next ones, if it lacks a value: `lr = 0.1`, `lr= 0.1`, `lr =0.1`, `lr 0.1`, `lr: 0.1`."""
    if "=" not in word and rest and rest[0].startswith("="):
        word += rest.pop(0)
    elif re.fullmatch(r"[A-Za-z_][\w.]*:?", word) and rest and _is_value(rest[0]) and "=" not in _chosen(word):
        word = f"{word.removesuffix(':')}={rest.pop(0)}"
    if re.fullmatch(r"[+]*[\w./@]+=", word) and rest and _is_value(rest[0]):
        word += rest.pop(0)
    return word


def _is_value(word: str) -> bool:
    """Return whether a word can be the value of the one before; a number may begin with a minus."""
    return "=" not in word and (not word.startswith(("-", "+", "~")) or bool(re.match(r"-[\d.]", word)))


def _chosen(word: str) -> str:
    """Return `experiments=NAME` for the name or file of a study, `optimizer=adam` for one of a preset."""
    group, _, name = word.removeprefix("./").removeprefix("conf/").removesuffix(".yaml").rpartition("/")
    if name in places.studies() and group in ("", "experiments"):
        return f"experiments={name}"
    return next((f"{g}={name}" for g in places.groups() if name in places.presets(g) and group in ("", g)), word)


def _moved(typed: list[str]) -> list[str]:
    """Return the words with a known key in place of each unknown one; of several candidates, the first that fits."""
    moved: list[str] = []
    for word in typed:
        key, equals, value = word.lstrip("+").partition("=")
        others = [w for w in typed if w is not word and not w.startswith("-")]
        if not equals or word.startswith(("-", "~")) or (_is_known(key, others) and not _is_alone(key, others)):
            moved.append(word)
            continue
        options = [[*f"{option}={value}".split(" ")] for option in vocabulary.meant(key, others)[:MOST]]
        right = (option for option in options if len(options) > 1 and _is_right([*_known_of(others), *option]))
        moved += next(right, options[0] if options else [word])
    return moved


def _known_of(typed: list[str]) -> list[str]:
    """Return the words whose key is known."""
    return [w for w in typed if "=" in w and _is_known(w.lstrip("+~").partition("=")[0], typed)]


def _is_alone(key: str, others: list[str]) -> bool:
    """Return whether this is an argument of a scheduler, and none is chosen."""
    chosen = ("scheduler=", "scheduler.name=", "experiments=")
    return key.startswith("scheduler.") and key != "scheduler.name" and not any(w.startswith(chosen) for w in others)


def _is_known(key: str, others: list[str]) -> bool:
    """Return whether a key can be set beside the other words."""
    key = key.partition("@")[0]
    if key in vocabulary.known(others) or key.startswith(("model.layers", "hydra", "tracking.tags.", "sweep.pruner.")):
        return True
    return key in ("data", "loss", "optimizer", "scheduler", "checkpoint", "sweep")


def _is_right(typed: list[str]) -> bool:
    """Return whether the configuration, of a sweep the first job's, composes and passes the checks."""
    from runner.training.checking import checks
    from runner.training.parts import components

    try:
        words = [_words.indexed(word) for word in typed if not word.startswith("-")]
        overrides = _first_job(words)
        if overrides != words and not {"-m", "--multirun"} & set(typed):
            return False
        settings = configuration.settings(composition.compose_ours(overrides), overrides)
        if "." not in str(settings.data.get("name")):
            checks.check(settings)
        else:  # a source of the user's may take minutes
            problems = Problems()
            components.resolve(settings, problems, lambda: None)
            problems.raise_all()
    except Exception:
        return False
    return True


def _sweeps(typed: list[str]) -> bool:
    """Return whether several values are typed, and no -m that sweeps over them."""
    words = [word for word in typed if not word.startswith("-")]
    return not {"-m", "--multirun"} & set(typed) and _first_job(words) != words


def _first_job(overrides: list[str]) -> list[str]:
    """Return the words of a sweep's first job; of single values, the words themselves."""
    words = []
    for override in OverridesParser.create().parse_overrides(overrides):
        sweeps = override.is_discrete_sweep()
        value = next(iter(override.sweep_string_iterator())) if sweeps else ""
        words.append(f"{override.get_key_element()}={value}" if sweeps else str(override.input_line))
    return words


@contextlib.contextmanager
def _composer() -> Iterator[None]:
    """Set Hydra up as `runner` does, whatever state it is in."""
    trials.register()
    composition.install()
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(places.conf())):
        compose("config")
        yield
