"""Tracking URIs: validated, and read as paths, without opening the store."""

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote, unquote

from runner.settings.errors import ConfigError
from runner.settings.files import filenames
from runner.settings.trust import secrets

KEY = "tracking.uri"
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
EXAMPLES = "sqlite:///file.db or http://host:port"


def check(uri: str) -> None:
    """Raise ConfigError for a URI that names no store. Nothing is created, and no server is asked."""
    shown = secrets.masked_uri(uri)
    if "://" not in uri and uri != "databricks":
        raise ConfigError(KEY, f"{shown!r} is not a URI; expected {EXAMPLES}")
    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme not in SCHEMES:
        raise ConfigError(KEY, f"{shown!r} begins with {scheme!r}; expected {EXAMPLES}")
    if scheme in ("http", "https") and not re.match(r"https?://[^/?#]*[\w\]]", uri):
        raise ConfigError(KEY, f"{shown!r} names no host; expected {EXAMPLES}")
    if scheme == "sqlite":
        _check_file(uri)
    elif scheme not in ("http", "https", "databricks"):
        _check_driver(uri, shown)


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of a sqlite:/// URI; None for any other store."""
    return file(uri) if uri.startswith("sqlite:///") else None


def file(uri: str) -> Path:
    """Return the absolute path of a sqlite:/// URI. After the slashes it is plain text: `%20` is not a space.

    Raises ConfigError for a name that is no text: MLflow keeps it in a database, in UTF-8.
    """
    path = Path(_quoted(uri) or uri.removeprefix("sqlite:///")).absolute()
    if ".." in path.parts:  # a folder that has gone by then would take the way to the store along
        path = path.parent.resolve() / path.name
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            KEY, f"the name {str(path)!r} is not UTF-8, which MLflow needs to find artifacts; rename it"
        ) from None
    return path


def _quoted(uri: str) -> str:
    """Return the path in what `sqlalchemy` makes of an odd one; "" for a URI of another form."""
    from sqlalchemy.engine import make_url

    if not re.fullmatch(r"sqlite:///file(:|%3A).*[?]uri=true", uri):
        return ""
    return unquote(str(make_url(uri).database).removeprefix("file:"))


#: Characters that mean themselves in a URI of SQLAlchemy's, of any version, and in Optuna's and MLflow's hands.
_PLAIN = re.compile(r"[\w/.,+ -]+")


def is_plain(text: str) -> bool:
    """Return whether all characters of a path stand for themselves in URIs and statements."""
    return _PLAIN.fullmatch(text) is not None


def sqlalchemy(path: Path, before: int = 0) -> str:
    """Return the URI by which SQLAlchemy and what uses it open the SQLite file `path`, whatever its name holds.

    SQLAlchemy 2.1 reads `%2F` of a path as a slash, where 2.0 does not, both end it at `?`, Optuna fills in `{}`, and
    MLflow makes the folders that it reads from the text. SQLite's own URI, quoted as a whole, has nothing of these.
    before: a number; another one gives another text for the same file.
    """
    from sqlalchemy.engine import make_url

    text = "/." * before + str(path)
    if is_plain(text):
        return f"sqlite:///{text}"
    name = "file:" + quote(text, safe="")
    urls = [f"sqlite:///{quoted}?uri=true" for quoted in (name, quote(name, safe=""))]
    return next(url for url in urls if make_url(url).database == name)


def _check_driver(uri: str, shown: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        raise ConfigError(
            KEY, f"{shown!r} needs the package {error.name}, which is not installed; install it"
        ) from None
    except (SQLAlchemyError, ValueError):
        raise ConfigError(KEY, f"{shown!r} is not understood; expected {EXAMPLES}") from None


def _check_file(uri: str) -> None:
    if not uri.startswith("sqlite:///") or not uri.removeprefix("sqlite:///"):
        raise ConfigError(KEY, f"{uri!r} names no file; expected three slashes and a path, as in sqlite:///file.db")
    if uri.startswith("sqlite:///:memory:"):
        raise ConfigError(KEY, f"{uri!r} is gone when the process ends; name a file, as in sqlite:///file.db")
    path = file(uri)
    if len(path.name.encode()) > filenames.MOST:  # further files stand beside it, such as mlflow.db-journal
        raise ConfigError(KEY, f"the file's name has {len(path.name.encode())} bytes; at most {filenames.MOST}")
    if not filenames.is_folder(path.parent):
        raise ConfigError(KEY, f"there is no folder {path.parent}; make it, or name another file")
    if path.is_dir():
        raise ConfigError(KEY, f"{uri!r} is a folder; expected a file, as in sqlite:///file.db")
    there = path if path.exists() else path.parent
    if not os.access(there, os.W_OK):
        raise ConfigError(KEY, f"{there} cannot be written; name another file")
    if path.exists() and not _is_sqlite(path):
        raise ConfigError(KEY, f"{path} is no SQLite file; name another")


def _is_sqlite(path: Path) -> bool:
    """Return whether the file is SQLite's.

    SQLite is asked: a process that opens and closes the file by itself loses the locks that it has there. Another one
    that is done with the store then takes itself for the last, and deletes the log that this one writes to.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0, uri=True)) as store:
            store.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:  # in use: it is one
        return True
    except sqlite3.DatabaseError:
        return False
    return True
