"""Permissions that only a person gives, and the words for them; files, records and stores are a stranger's.

A person types a key on the command line, or sets a variable of the environment: RUNNER_TRUST (packages whose code may
run), RUNNER_ENV (variables that a configuration may read), RUNNER_PLACES (servers and folders that a file may name) and
MLFLOW_TRACKING_URI, which is one of those places. Words out of the record of a sweep, and those that a study has its
sweeper add to every job, were not typed.
"""

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.files import filenames, uris
from runner.settings.trust import secrets

if TYPE_CHECKING:
    from runner.settings.trust.typed_words import Typed

#: A dotted key, or its parts where one of them may hold a dot.
Key = str | tuple[Any, ...]

#: Folders of a working directory that decide what a later command does; no file has anything written there.
CODE = ("conf", "experiments", "hydra_plugins", ".git")
#: What lies beside a store that is a file: artifacts and what is on its way.
BESIDE = ("mlruns", ".runner")
#: Files of a folder that are checked.
ENTRIES = 100_000

#: `scheme://user@host:port/path` and nothing that a driver or a proxy might read otherwise.
_SERVER = re.compile(
    r"(?P<scheme>[a-z][a-z0-9.\-]*)(\+[a-z0-9_]+)?://([^/?#@\s\\]*@)?(?P<host>[a-z0-9._\-]+|\[[0-9a-f:.]+\])"
    r"(?P<port>:\d+)?(/[^?#\s\\@]*)?",
    re.IGNORECASE,
)

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


def end() -> None:
    """Forget the command line of a call that has ended: what a person types next is not known yet."""
    _words.clear()
    _folder.clear()
    _places.clear()


def _named() -> list[str]:
    named = re.split(r"(?<!\\),", os.environ.get("RUNNER_PLACES", ""))  # a comma in a name is written `\,`
    named = [place.strip().replace("\\,", ",") for place in named]
    return [place for place in (*named, os.environ.get("MLFLOW_TRACKING_URI", "").strip()) if place]


def words() -> list[str]:
    """Return the command line as it was typed."""
    return list(_words)


def typed(key: Key) -> bool:
    """Return whether a person has typed a value for `key`: by itself, or in a mapping as in `hydra.sweep={dir: x}`."""
    return _path(key) in _typed().values


def wholly(key: Key, value: Any) -> bool:
    """Return whether `value` is what a person has typed for `key`, and no part of it comes from a file.

    In `out/${tracking.run_name}` a part comes from whoever sets tracking.run_name; the time comes from nobody.
    """
    return _typed().is_wholly(_path(key), value)


def left(key: str) -> str:
    """Return the references of what was typed for `key` that a file may decide on, joined; "" if there are none."""
    return " and ".join(_typed().references(_path(key)))


def _typed() -> "Typed":
    from runner.settings.trust.typed_words import Typed

    return Typed.of(tuple(_words))


def _path(key: Key) -> tuple[Any, ...]:
    return tuple(key.split(".")) if isinstance(key, str) else key


def _beginnings(key: str) -> list[str]:
    return _typed().beginnings(_path(key))


def packages() -> list[str]:
    """Return the packages that a configuration may name, besides ours."""
    return os.environ.get("RUNNER_TRUST", "").replace(",", " ").split()


def variables() -> list[str]:
    """Return the environment variables that a person lets configurations read."""
    return os.environ.get("RUNNER_ENV", "").replace(",", " ").split()


def places() -> list[str]:
    """Return the servers, stores and folders that files may name: as a command began, or as it is now."""
    return list(_places if _folder else _named())


def folders() -> list[Path]:
    """Return those of the places that are folders."""
    return [filenames.path(place) for place in places() if "://" not in place]


def store(uri: str, key: str) -> None:
    """Raise ConfigError for a store that a file has chosen and no person has allowed: a server, or a file elsewhere.

    What is no URI at all names nothing, and is for others to refuse.
    """
    if wholly(key, uri) or uri in places() or ("://" not in uri and uri != "databricks"):
        return
    if uri.startswith("sqlite:///") and uri.isprintable():
        path = uris.file(uri)  # by which it is opened, whatever its name holds
        above = [uris.file(one) for one in _beginnings(key) if one.startswith("sqlite:///")]
        _refuse_outside([path, *(path.parent / name for name in BESIDE)], key, uri, above)
        _refuse_code(path, key)
        return
    server = origin(uri)
    if not server:
        raise ConfigError(
            key, f"{secrets.masked_uri(uri)!r} is an address that only a person may give; type {key}=... yourself"
        )
    servers = [origin(beginning) for beginning in _beginnings(key)]  # a file sets the path alone
    if server not in (*servers, *map(origin, places())):
        raise ConfigError(
            key,
            f"{secrets.masked_uri(uri)!r} is a server that only a file names, so nothing is sent to it;"
            f" {_remedy(key, secrets.masked_uri(uri), [server])}",
            pasted=True,
        )


def folder(path: str, key: str) -> None:
    """Raise ConfigError for a folder to write into that a file has chosen outside of the working directory.

    What a person has typed with a reference in it stays in the folder that was typed before the reference.
    """
    _check_plain(path, key)
    above = [Path(beginning) for beginning in _beginnings(key)]
    _refuse_outside([Path(path)], key, path, above)
    if Path(path).is_absolute() and not above and _inside(Path(path), allowed=[]):
        raise ConfigError(key, f"{path!r} is not relative; name it as it is seen from the working directory")
    _refuse_code(Path(path), key)


def below(parent: str, path: str, key: str) -> None:
    """Raise ConfigError for a folder that a file has chosen, and that leads out of `parent`, which may be anywhere."""
    _check_plain(path, key)
    if Path(path).is_absolute() or ".." in Path(path).parts or not _within(parent, path):
        problem = f"{path!r} is outside of {parent!r}; name a folder in it, or {_by_hand(key, path)}"
        raise ConfigError(key, problem, pasted=True)
    _refuse_code(Path(parent, path), key)


def no_links(path: str, key: str) -> None:
    """Raise ConfigError where a folder that a file has chosen holds links out of the working directory."""
    seen = 0
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            seen += 1
            if (link := Path(place) / name).is_symlink() and not _inside(link):
                problem = f"{_elsewhere(link)}; name a new folder, or {_by_hand(key, path)}"
                raise ConfigError(key, problem, pasted=True)
        if seen > ENTRIES:
            raise ConfigError(key, f"{path!r} holds more than {ENTRIES:,} files; name a new folder, or type {key}=...")


def file(path: Path, key: str) -> None:
    """Raise ConfigError for a file to read whose links lead out of the working directory."""
    if not _inside(path):
        problem = f"{_elsewhere(path)}; copy it, or allow its folder: {_allowing([_real(path).parent])}"
        raise ConfigError(key, problem, pasted=True)


def origin(uri: str) -> str:
    """Return `scheme://host:port` of a server's URI; "" for none, or one that can be read in several ways."""
    if uri == "databricks":
        return uri
    parts = _SERVER.fullmatch(uri) if uri.isprintable() else None
    if parts is None or parts["scheme"].lower() == "sqlite":
        return ""
    return f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}".lower()


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
    """Return whether a path, its links followed, is in the working directory or in `allowed`; None: `folders()`."""
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


def _refuse_outside(paths: list[Path], key: str, value: str, above: list[Path]) -> None:
    """Raise ConfigError for what is in neither the working directory nor `above`; the first path stands for all."""
    outside = [path for path in paths if not _inside(path) and not _inside(path, above)]
    if paths[0] in outside:
        outside = paths[:1]
    if outside:
        ways, is_folder = [_way_out(path) for path in outside], len(paths) == 1
        if not is_folder and outside == paths[:1] and not ways[0].is_dir():  # a store's file, which is not alone
            ways = [ways[0].parent]
        instead = "name a folder in it, or " * is_folder
        problem = f"{' and '.join(map(_elsewhere, outside))}; {instead}{_remedy(key, value, ways)}"
        raise ConfigError(key, problem, pasted=True)


def _elsewhere(path: Path) -> str:
    if (link := _link(path)) is None:
        return f"{_shown(path)!r} is outside of the working directory"
    gone = "" if link.exists() else ", which is not there"
    return f"the link {_shown(link)!r} leads out of the working directory, to {str(_real(link))!r}{gone}"


def _shown(path: Path) -> str:
    return os.path.relpath(path, _here()) if path.is_absolute() and path.is_relative_to(_here()) else str(path)


def _link(path: Path) -> Path | None:
    """Return the first link on the way that leads out of the working directory; None if the path is not in it."""
    whole = _here() / path
    if not Path(os.path.normpath(whole)).is_relative_to(_here()):
        return None
    steps = [step for step in (whole, *whole.parents) if len(step.parts) > len(_here().parts)]
    return next((step for step in steps[::-1] if not _inside(step)), None)


def _way_out(path: Path) -> Path:
    """Return the folder to allow: the target of the link that leads out, or the path itself."""
    return _real(_link(path) or path)


def _remedy(key: str, value: str, places: list[Any]) -> str:
    """Return the exact words by which a person allows a place, once or for good."""
    return f"{_by_hand(key, value)}, or put this line into the profile of your shell: {_allowing(places)}"


def _by_hand(key: str, value: str) -> str:
    """Return the word by which a person sets the key."""
    from runner.settings.trust.typed_words import pasted

    parts = left(key)
    return f"type {f'it without {parts}, which a file sets: ' * bool(parts)}{pasted(key, value)}"


def _allowing(places: list[Any]) -> str:
    """Return the line for a shell that allows places beside the present ones. Their names are quoted."""
    names = ",".join(dict.fromkeys(str(place).replace(",", "\\,") for place in places))
    return f"export RUNNER_PLACES={'$RUNNER_PLACES,' * bool(os.environ.get('RUNNER_PLACES'))}{shlex.quote(names)}"
