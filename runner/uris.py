"""Whether a tracking URI can be opened, said without opening it."""

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from runner import filenames, secrets
from runner.errors import ConfigError

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
    path = Path(uri.removeprefix("sqlite:///")).absolute()
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
    """Asked of SQLite: a process that opens and closes the file by itself loses the locks that it has there.

    Another one that is done with the store then takes itself for the last, and deletes the log that this one writes to.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0, uri=True)) as store:
            store.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:  # in use: it is one
        return True
    except sqlite3.DatabaseError:
        return False
    return True
