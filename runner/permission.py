"""Permissions that only a person gives, and the words for them; files, records and stores are a stranger's.

A person says something by typing its key on the command line, or by a variable of the environment: RUNNER_TRUST
(packages whose code may run), RUNNER_ENV (variables that a configuration may read), RUNNER_PLACES (servers and folders
that a file may name) and MLFLOW_TRACKING_URI, which is one of those places. Words out of the record of a sweep, and
those that a study has its sweeper add to every job, were not typed.
"""

import os
import re
import shlex
from pathlib import Path

from runner import filenames, secrets
from runner.errors import ConfigError

#: Folders of a working directory that decide what a later command does; no file has anything written there.
CODE = ("conf", "experiments", "hydra_plugins", ".git")
#: What lies beside a store that is a file: artifacts and what is on its way.
BESIDE = ("mlruns", ".runner")
#: Files of a folder that are looked at.
ENTRIES = 100_000

#: `scheme://user@host:port/path` and nothing that a driver or a proxy might read otherwise.
_SERVER = re.compile(
    r"(?P<scheme>[a-z][a-z0-9.\-]*)(\+[a-z0-9_]+)?://([^/?#@\s\\]*@)?(?P<host>[a-z0-9._\-]+|\[[0-9a-f:.]+\])"
    r"(?P<port>:\d+)?(/[^?#\s\\@]*)?",
    re.IGNORECASE,
)
_FILE = re.compile(r"sqlite(\+pysqlite)?:///(?!file:)(?P<path>[^?#\\]+)")

#: What refers to a key that a file may say; the time, and what Hydra itself knows of a job, is nobody's.
_REFERENCE = re.compile(r"\$\{(?!(?:hydra[.:]job\.(?:num|id)|now:[^${}]*)\})")

_words: list[str] = []
_places: list[str] = []
#: The working directory, once a command has begun.
_folder: list[Path] = []


def begin(words: list[str], folder: Path | None = None) -> None:
    """Take the command line as it was typed, before any word of a record is added to it, and the environment as it is.

    MLflow and Hydra change the environment and the directory of a process later on. folder: the working directory.
    """
    _words[:], _folder[:] = words, [(folder or Path.cwd()).resolve()]
    _places[:] = _named()


def _named() -> list[str]:
    variables = [*os.environ.get("RUNNER_PLACES", "").split(","), os.environ.get("MLFLOW_TRACKING_URI", "")]
    return [place.strip() for place in variables if place.strip()]


def words() -> list[str]:
    """The command line as it was typed."""
    return list(_words)


def typed(key: str) -> bool:
    """Whether a person has typed a value for `key`: by itself, or in a mapping, as in `hydra.sweep={dir: x}`.

    `tracking=mine` chooses a file, and what that says was not typed.
    """
    return any(_says(word, key) for word in _words if word[:1] not in ("-", "~"))


def wholly(key: str) -> bool:
    """Whether a person has typed all of the value: `out/${tracking.run_name}` leaves a part of it to a file."""
    return typed(key) and not _REFERENCE.search(_text(key))


def _text(key: str) -> str:
    return next(
        (word.partition("=")[2] for word in _words[::-1] if word[:1] not in ("-", "~") and _says(word, key)), ""
    )


def _says(word: str, key: str) -> bool:
    name, equals, value = word.partition("=")
    name = name.lstrip("+")
    if not equals or not f"{key}.".startswith(f"{name}."):
        return False
    inner = key[len(name) + 1 :].split(".")
    return name == key or (value.lstrip()[:1] == "{" and all(re.search(rf"\b{re.escape(k)}\W", value) for k in inner))


def packages() -> list[str]:
    """Packages of a person's that a configuration may name."""
    return os.environ.get("RUNNER_TRUST", "").replace(",", " ").split()


def variables() -> list[str]:
    """Variables of the environment that a person lets configurations read."""
    return os.environ.get("RUNNER_ENV", "").replace(",", " ").split()


def places() -> list[str]:
    """Servers, stores and folders that a person lets files name; where no command has begun, as it is now."""
    return list(_places if _folder else _named())


def folders() -> list[Path]:
    """Those of the places that are folders."""
    return [filenames.path(place) for place in places() if "://" not in place]


def store(uri: str, key: str) -> None:
    """Raise ConfigError for a store that a file has chosen and no person has allowed: a server, or a file elsewhere.

    What is no URI at all names nothing, and is for others to refuse.
    """
    if wholly(key) or uri in places() or ("://" not in uri and uri != "databricks"):
        return
    given = _text(key).lstrip("'\"").partition("${")[0] if typed(key) else ""
    if given.count("/") >= 3 and origin(given) and origin(given) == origin(uri):  # a file says the path alone
        return
    file = _FILE.fullmatch(uri) if uri.isprintable() else None
    if file is not None:
        path = Path(file["path"])
        for place in (path, *(path.parent / name for name in BESIDE)):
            if not _inside(place):
                there = _real(place).parent if place == path else _real(place)
                raise ConfigError(key, f"{str(place)!r} {_elsewhere(place)}; {_remedy(key, uri, there)}")
        _refuse_code(path, key)
        return
    server = origin(uri)
    if not server:
        raise ConfigError(
            key, f"{secrets.masked_uri(uri)!r} is an address that only a person may give; type {key}=... yourself"
        )
    if server not in map(origin, places()):
        raise ConfigError(
            key,
            f"{secrets.masked_uri(uri)!r} is a server that a file names and no person: nothing is sent to it;"
            f" {_remedy(key, secrets.masked_uri(uri), server)}",
        )


def folder(path: str, key: str) -> None:
    """Raise ConfigError for a folder to write into that a file has chosen outside of the working directory.

    What a person has typed with a reference in it stays in the folder that was typed before the reference.
    """
    if wholly(key):
        return
    _check_plain(path, key)
    above = Path(_text(key).lstrip("'\"").partition("${")[0]).parent if typed(key) and "${" in _text(key) else None
    if above is not None and (_inside(Path(path)) or _inside(Path(path), allowed=[above])):
        _refuse_code(Path(path), key)
        return
    if not _inside(Path(path)):
        where = _elsewhere(Path(path))
        raise ConfigError(key, f"{path!r} {where}; name a folder in it, or {_remedy(key, path, _way_out(Path(path)))}")
    if Path(path).is_absolute() and _inside(Path(path), allowed=[]):
        raise ConfigError(key, f"{path!r} is not relative; name it as it is seen from the working directory")
    _refuse_code(Path(path), key)


def below(parent: str, path: str, key: str) -> None:
    """Raise ConfigError for a folder that leads out of `parent`, which may be anywhere, unless a person typed it."""
    if wholly(key):
        return
    _check_plain(path, key)
    if Path(path).is_absolute() or ".." in Path(path).parts or not _within(parent, path):
        raise ConfigError(key, f"{path!r} is outside of {parent!r}; name a folder in it, or type {_quoted(key, path)}")
    _refuse_code(Path(parent, path), key)


def no_links(path: str, key: str) -> None:
    """Raise ConfigError where a folder that a file has chosen holds links out of the working directory."""
    if typed(key):
        return
    seen = 0
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            seen += 1
            if (link := Path(place) / name).is_symlink() and not _inside(link):
                raise ConfigError(
                    key, f"{str(link)!r} {_elsewhere(link)}; name a new folder, or type {_quoted(key, path)}"
                )
        if seen > ENTRIES:
            raise ConfigError(key, f"{path!r} holds more than {ENTRIES:,} files; name a new folder, or type {key}=...")


def file(path: Path, key: str) -> None:
    """Raise ConfigError for a file to read whose links lead out of the working directory."""
    if not _inside(path):
        there = _real(path).parent
        raise ConfigError(
            key, f"the file {_elsewhere(path)}; copy it, or allow its folder: {_quoted('RUNNER_PLACES', there)}"
        )


def origin(uri: str) -> str:
    """`scheme://host:port` of a server's URI; "" for what is none, or could be read in several ways."""
    if uri == "databricks":
        return uri
    found = _SERVER.fullmatch(uri) if uri.isprintable() else None
    if found is None or found["scheme"].lower() == "sqlite":
        return ""
    return f"{found['scheme']}://{found['host']}{found['port'] or ''}".lower()


def _check_plain(path: str, key: str) -> None:
    if not path.isprintable() or path.startswith("~"):
        raise ConfigError(key, f"{path!r} is not the plain name of a folder; name one in the working directory")


def _refuse_code(path: Path, key: str) -> None:
    if any(_real(path).is_relative_to(_here() / name) for name in CODE):
        raise ConfigError(
            key, f"{str(path)!r} holds code or configurations; name another folder, or type {key}=... yourself"
        )


def _here() -> Path:
    return _folder[0] if _folder else Path.cwd().resolve()


def _inside(path: Path, allowed: list[Path] | None = None) -> bool:
    """Whether a path is in the working directory or in `allowed`, folders that a person allows, its links followed."""
    if allowed is None:
        allowed = folders()
    try:
        return any(_real(path).is_relative_to(_real(one)) for one in (_here(), *allowed))
    except (OSError, ValueError):  # a name that no file can have
        return False


def _within(parent: str, path: str) -> bool:
    return _inside(Path(parent, path)) or _inside(Path(parent, path), allowed=[Path(parent)])


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _elsewhere(path: Path) -> str:
    return (
        f"{'leads out' if _is_linked(path) else 'is outside'} of the working directory{' by a link' * _is_linked(path)}"
    )


def _is_linked(path: Path) -> bool:
    return Path(os.path.normpath(Path.cwd() / path)).is_relative_to(_here())


def _way_out(path: Path) -> Path:
    """The folder to allow: what the first link on the way leads to, or the path itself."""
    steps = [path, *path.parents][::-1] if _is_linked(path) else []
    return _real(next((step for step in steps if not _inside(step)), path))


def _remedy(key: str, value: str, place: object) -> str:
    """The exact words by which a person allows it, once or for good."""
    return f"type {_quoted(key, value)}, or allow it for good in your environment: {_quoted('RUNNER_PLACES', place)}"


def _quoted(key: str, value: object) -> str:
    """To be pasted into a shell: a file may have a command in the name of a place."""
    return f"{key}={shlex.quote(str(value))}"
