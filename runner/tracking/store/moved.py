"""The places of artifacts in a local store follow the store's file when its folder is moved or copied.

MLflow writes absolute places into its tables and reads them as they are, from whatever working directory. So they stay
absolute, and a table of our own says in which folder the store was when they were right. Where it is in another one by
now, everything that lay in the former folder is looked for in the new one: the same as if places were relative.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

#: Our table: one row with the store's folder.
TABLE = "runner_store"
#: Where MLflow's tables name places, with a condition; the first two are in every store.
PLACES = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("trace_tags", "value", " AND key = 'mlflow.artifactLocation'"),
)
#: Seconds in which another process that writes is waited for, as MLflow does.
WAIT = 20.0
#: The folder beside a store that holds its artifacts.
FOLDER = "mlruns"


def recorded(path: Path, locked: Path) -> Path | None:
    """The folder that the store `path` was in when its places were last right; None where nothing tells.

    locked: the answer while another process has the file for itself.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as store:
        try:
            return _recorded(store)
        except sqlite3.OperationalError:
            return locked


def is_same(folder: Path, path: Path) -> bool:
    """Whether `folder` is where the store is, perhaps by another name: of a link, or of another mount."""
    if folder == path.parent:
        return True
    with contextlib.suppress(OSError, ValueError):
        return (folder / path.name).samefile(path)
    return False


def follow(path: Path) -> tuple[Path, str]:
    """Bring the places in the store `path` along, in one transaction; nothing of another folder is touched.

    Returns the store's folder, and a sentence for a person if runs were brought along. To be called under the lock of
    the store's file. Raises sqlite3.Error for a store that is not MLflow's, or cannot be written.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as store:
        folder = _recorded(store)
        if folder is not None and is_same(folder, path):
            return folder, ""
        store.execute("BEGIN IMMEDIATE")
        with store:
            roots = [folder] if folder else list(_former(store, path.parent))
            message = _rewrite(store, path, roots) if roots else ""
            if folder is None:
                _place_default(store, path.parent)
            store.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (folder TEXT NOT NULL)")
            store.execute(f"DELETE FROM {TABLE}")
            store.execute(f"INSERT INTO {TABLE} VALUES (?)", (str(path.parent),))
    return path.parent, message


def _recorded(store: sqlite3.Connection) -> Path | None:
    """The folder in which the store was; None for a store that was made before this was recorded."""
    if not _exists(store, TABLE):
        return None
    row = store.execute(f"SELECT folder FROM {TABLE}").fetchone()
    folder = Path(row[0]) if row and isinstance(row[0], str) else None
    return folder if folder is not None and folder.is_absolute() else None


def _former(store: sqlite3.Connection, here: Path) -> Iterator[Path]:
    """Folders of which places tell, though the files are here: of a store that moved before it was recorded where."""
    seen = {here}
    for experiment, place in store.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
        location = _path(place)
        if location is None or location.parent.name != FOLDER or location.parent.parent in seen:
            continue
        found = here / FOLDER / location.name
        runs = {run for (run,) in store.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment,))}
        if found.is_dir() and (not runs or any(entry.name in runs for entry in found.iterdir())):
            seen.add(location.parent.parent)
            yield location.parent.parent


def _rewrite(store: sqlite3.Connection, path: Path, roots: list[Path]) -> str:
    """Name places within `roots` in the store's folder instead. Returns what to say of it, "" without any runs."""
    here, runs, missing = path.parent, dict.fromkeys(roots, 0), set[Path]()
    for table, column, condition in PLACES:
        if not _exists(store, table) and table not in ("experiments", "runs"):
            continue
        rows = store.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%/%'{condition}").fetchall()
        for row, place in rows:
            root, new = _moved(place, roots, here)
            if new is None:
                continue
            store.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new.as_uri(), row))
            if table == "runs":
                runs[root] += 1
                missing |= set() if new.is_dir() else {root}
    return _sentence(path, {root: count for root, count in runs.items() if count and not is_same(root, path)}, missing)


def _moved(place: object, roots: list[Path], here: Path) -> tuple[Path, Path | None]:
    """The innermost of `roots` and `here` that a place is in, and its new place; None where it stays as it is."""
    path = _path(place)
    inside = [root for root in (here, *roots) if path is not None and path.is_relative_to(root)]
    if path is None or not inside or ".." in path.parts:  # which would lead out again
        return here, None
    root = max(inside, key=lambda root: len(root.parts))
    return root, None if root == here else here / path.relative_to(root)


def _sentence(path: Path, runs: dict[Path, int], missing: set[Path]) -> str:
    """Return the line for a person about runs that were moved, by their former folder; "" if there are none."""
    if not runs:
        return ""
    how = "was copied" if any((root / path.name).exists() for root in runs) else "was moved"
    total = sum(runs.values())
    said = (
        f"{path.name} {how} from {' and '.join(map(str, runs))} to {path.parent}: the artifacts of"
        f" {total:,} run{'' if total == 1 else 's'} are taken from {path.parent / FOLDER} from now on"
    )
    left = " and ".join(str(root / FOLDER) for root in sorted(missing))
    said = f"{said}; some are not there: bring {left} along" if left else said
    return said if said.isprintable() else ascii(said)[1:-1]


def _place_default(store: sqlite3.Connection, here: Path) -> None:
    """Put MLflow's first experiment beside the store: it belongs to the working directory of whoever made the store."""
    store.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = 0)",
        ((here / FOLDER / "0").as_uri(),),
    )


def _path(place: object) -> Path | None:
    """The folder on this machine that a place names: `file:///a%20b`, or `/a b` as MLflow writes its defaults."""
    if not isinstance(place, str) or not place.startswith(("file:", "/")):
        return None
    if place.startswith("/"):
        return Path(place)
    parts = urlsplit(place)
    path = Path(url2pathname(parts.path))
    return path if parts.netloc in ("", "localhost") and path.is_absolute() else None


def _exists(store: sqlite3.Connection, table: str) -> bool:
    return bool(store.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone())
