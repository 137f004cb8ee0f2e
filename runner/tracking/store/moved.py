"""The places of artifacts in a local store follow the store's file when its folder is moved or copied.

MLflow writes absolute places into its tables and reads them as they are, from whatever working directory. So they stay
absolute, and a table of our own has the folder that the store was in when they were right. When the store is in another
folder, every place within the former one is rewritten to the new one: the same as if places were relative.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from runner.tracking.store import mlflow_private

#: Our table: one row with the store's folder.
TABLE = "runner_store"
#: Seconds to wait for another process that writes, as MLflow does.
WAIT = 20.0
#: The folder beside a store that holds its artifacts.
FOLDER = "mlruns"


def recorded(path: Path, locked: Path) -> Path | None:
    """Return the folder that the store `path` was in when its places were last right; None if it was not recorded.

    locked: the folder to return while another process has locked the file.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as store:
        try:
            return _recorded(store)
        except sqlite3.OperationalError:
            return locked


def is_same(folder: Path, path: Path) -> bool:
    """Return whether `folder` is the store's folder, perhaps by another name: of a link, or of another mount."""
    if folder == path.parent:
        return True
    with contextlib.suppress(OSError, ValueError):
        return (folder / path.name).samefile(path)
    return False


def follow(path: Path) -> tuple[Path, str]:
    """Rewrite the places in the store `path` to the folder it is in now, in one transaction.

    Places outside of its former folder stay. Returns the store's folder, and a sentence for a person if the places of
    runs were rewritten, else "". To be called under the lock of the store's file.
    Raises sqlite3.Error for a store that is not MLflow's, or cannot be written.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as store:
        folder = _recorded(store)
        if folder is not None and is_same(folder, path):
            return folder, ""
        store.execute("BEGIN IMMEDIATE")
        with store:
            roots = [folder] if folder else list(_former(store, path.parent))
            message = _rewrite(store, path, roots) if roots else ""
            if folder is None:  # MLflow has put its first experiment into the working directory
                mlflow_private.place_first_experiment(store, (path.parent / FOLDER / "0").as_uri())
            store.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (folder TEXT NOT NULL)")
            store.execute(f"DELETE FROM {TABLE}")
            store.execute(f"INSERT INTO {TABLE} VALUES (?)", (str(path.parent),))
    return path.parent, message


def _recorded(store: sqlite3.Connection) -> Path | None:
    """Return the folder in which the store was; None for a store that was made before this was recorded."""
    if not _exists(store, TABLE):
        return None
    row = store.execute(f"SELECT folder FROM {TABLE}").fetchone()
    folder = Path(row[0]) if row and isinstance(row[0], str) else None
    return folder if folder is not None and folder.is_absolute() else None


def _former(store: sqlite3.Connection, folder: Path) -> Iterator[Path]:
    """Yield folders that places name although their files are in `folder`: the store moved before that was recorded."""
    seen = {folder}
    for experiment, place in mlflow_private.experiment_places(store):
        location = _path(place)
        if location is None or location.parent.name != FOLDER or location.parent.parent in seen:
            continue
        artifacts = folder / FOLDER / location.name
        runs = mlflow_private.run_ids(store, experiment)
        if artifacts.is_dir() and (not runs or any(entry.name in runs for entry in artifacts.iterdir())):
            seen.add(location.parent.parent)
            yield location.parent.parent


def _rewrite(store: sqlite3.Connection, path: Path, roots: list[Path]) -> str:
    """Rewrite places within `roots` to the store's folder. Returns a sentence about the runs, "" if there are none."""
    runs, missing = dict.fromkeys(roots, 0), set[Path]()
    for table, column, condition in mlflow_private.PLACES:
        if not _exists(store, table) and table not in ("experiments", "runs"):
            continue
        rows = store.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%/%'{condition}").fetchall()
        for row, place in rows:
            root, new = _moved(place, roots, path.parent)
            if new is None:
                continue
            store.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new.as_uri(), row))
            if table == "runs":
                runs[root] += 1
                missing |= set() if new.is_dir() else {root}
    return _sentence(path, {root: count for root, count in runs.items() if count and not is_same(root, path)}, missing)


def _moved(place: object, roots: list[Path], folder: Path) -> tuple[Path, Path | None]:
    """Return the innermost of `roots` and `folder` that a place is in, and the new place; None if it stays."""
    path = _path(place)
    inside = [root for root in (folder, *roots) if path is not None and path.is_relative_to(root)]
    if path is None or not inside or ".." in path.parts:  # which would lead out again
        return folder, None
    root = max(inside, key=lambda root: len(root.parts))
    return root, None if root == folder else folder / path.relative_to(root)


def _sentence(path: Path, runs: dict[Path, int], missing: set[Path]) -> str:
    """Return the line for a person about runs that were moved, by their former folder; "" if there are none."""
    if not runs:
        return ""
    how = "was copied" if any((root / path.name).exists() for root in runs) else "was moved"
    total = sum(runs.values())
    sentence = (
        f"{path.name} {how} from {' and '.join(map(str, runs))} to {path.parent}: the artifacts of"
        f" {total:,} run{'' if total == 1 else 's'} are taken from {path.parent / FOLDER} from now on"
    )
    former = " and ".join(str(root / FOLDER) for root in sorted(missing))
    sentence = f"{sentence}; some are not there: bring {former} along" if former else sentence
    return sentence if sentence.isprintable() else ascii(sentence)[1:-1]


def _path(place: object) -> Path | None:
    """Return the folder on this machine that a place names, `file:///a%20b` or `/a b`, as MLflow writes both."""
    if not isinstance(place, str) or not place.startswith(("file:", "/")):
        return None
    if place.startswith("/"):
        return Path(place)
    parts = urlsplit(place)
    path = Path(url2pathname(parts.path))
    return path if parts.netloc in ("", "localhost") and path.is_absolute() else None


def _exists(store: sqlite3.Connection, table: str) -> bool:
    return bool(store.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone())
