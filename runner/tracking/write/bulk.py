"""Points, params, tags and ends of runs in a local store, in a fraction of the time that MLflow takes.

MLflow makes an object of every row and follows its attributes: 60 µs for a point, in which nothing is trained, and
10 ms for a call with a handful of tags. Here all of them, of one run or of many, are one transaction of a few
statements, into MLflow's own tables, by its own session (`store/mlflow_private.py`). The rows are the same, one by one.
In a store with other tables, and for values that MLflow may refuse, nothing is written here, and the caller uses
`log_batch`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from runner.tracking.store import mlflow_private

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: [key, value, milliseconds since 1970, step], as `MlflowClient.log_batch` takes metrics.
Point = Sequence[Any]

#: Names that MLflow takes. It takes some others as well, and has messages for the rest.
NAME = re.compile(r"[\w\-. ]+(/[\w\-. ]+)*")
LONGEST, LONGEST_TEXT = 250, 6000
#: MLflow's value for infinity.
LARGEST = 1.7976931348623157e308
#: Values of one statement, and runs that one asks for: SQLite takes 999 values in some builds.
VALUES, ASKED = 900, 500

NOTHING: Mapping[str, str] = {}


@dataclass
class Rows:
    """Rows of one run that are to be written."""

    run_id: str
    points: list[Point] = field(default_factory=list)  # [key, value, milliseconds since 1970, step] of each
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    end: tuple[str, int] | None = None  # its status from now on, and when it ended, in milliseconds since 1970


def insert(
    client: "MlflowClient",
    run_id: str,
    points: Sequence[Point] = (),
    params: Mapping[str, str] = NOTHING,
    tags: Mapping[str, str] = NOTHING,
) -> bool:
    """Write points, params and tags of a run into its store. Returns False, and writes nothing, if MLflow has to.

    points: see `Rows`.
    MLflow has to for a store that is no SQLite file with the expected tables, for a run that was deleted, for a param
    that has another value already, and for any value or name that MLflow may refuse or treat specially.
    """
    return insert_all(client, [Rows(run_id, list(points), dict(params), dict(tags))])


def insert_all(client: "MlflowClient", runs: Sequence[Rows]) -> bool:
    """Write rows of many runs in one transaction. Returns False, and writes nothing, if MLflow has to for one of them.

    When it has to: see `insert`.
    """
    tables = mlflow_private.tables(client) if all(map(_are_plain, runs)) else None
    if tables is None:
        return False
    with mlflow_private.session(client) as session:
        if not _are_active(session, tables["SqlRun"], runs) or not _agree(session, tables["SqlParam"], runs):
            return False
        _write_points(session, tables, runs)
        upsert(session, tables["SqlParam"], ((run.run_id, *pair) for run in runs for pair in run.params.items()))
        upsert(session, tables["SqlTag"], ((run.run_id, *pair) for run in runs for pair in run.tags.items()))
        _end(session, tables["SqlRun"], runs)
    return True


def upsert(session: Any, table: Any, texts: Iterable[tuple[str, str, str]]) -> None:
    """Write (run id, key, value) of params or tags; a value that is there is replaced."""
    into = f'INSERT INTO {table.name} (run_uuid, "key", value)'
    _insert(session, into, ' ON CONFLICT ("key", run_uuid) DO UPDATE SET value = excluded.value', list(texts))


def _write_points(session: Any, tables: dict[str, Any], runs: Sequence[Rows]) -> None:
    rows: list[tuple[Any, ...]] = []
    newest: list[tuple[Any, ...]] = []
    for run in runs:
        own = _rows(run)
        rows += own
        newest += {row[1]: row for row in sorted(own, key=_age)}.values()
    columns = '(run_uuid, "key", step, timestamp, value, is_nan)'
    _insert(session, f"INSERT INTO {tables['SqlMetric'].name} {columns}", " ON CONFLICT DO NOTHING", rows)
    latest, names = tables["SqlLatestMetric"].name, ("step", "timestamp", "value")
    _insert(
        session,
        f"INSERT INTO {latest} {columns}",
        ' ON CONFLICT ("key", run_uuid) DO UPDATE SET'
        f" {', '.join(f'{name} = excluded.{name}' for name in (*names, 'is_nan'))}"
        f" WHERE ({', '.join(f'excluded.{name}' for name in names)}) > ({', '.join(f'{latest}.{n}' for n in names)})",
        newest,
    )


def _rows(run: Rows) -> list[tuple[Any, ...]]:
    """Return (run id, key, step, milliseconds, value, is NaN) of a run's points."""
    if not run.points:
        return []
    keys, values, times, steps = zip(*run.points, strict=True)
    if all(map(math.isfinite, values)):
        numbers: Iterable[float] = map(float, values)
        return list(zip(repeat(run.run_id), keys, steps, times, numbers, repeat(0)))
    return [
        (
            run.run_id,
            key,
            step,
            at,
            0.0 if math.isnan(value) else min(max(float(value), -LARGEST), LARGEST),
            value != value,
        )
        for key, value, at, step in run.points
    ]


def _are_active(session: Any, table: Any, runs: Sequence[Rows]) -> bool:
    from sqlalchemy import select

    active = set()
    for ids in _parts([run.run_id for run in runs]):
        query = select(table.c.run_uuid).where(table.c.run_uuid.in_(ids), table.c.lifecycle_stage == "active")
        active |= set(session.execute(query).scalars())
    return all(run.run_id in active for run in runs)


def _agree(session: Any, table: Any, runs: Sequence[Rows]) -> bool:
    """Return whether no param has another value already, which MLflow refuses."""
    from sqlalchemy import select

    params = {run.run_id: run.params for run in runs if run.params}
    for ids in _parts(list(params)):
        query = select(table.c.run_uuid, table.c.key, table.c.value).where(table.c.run_uuid.in_(ids))
        if any(params[run_id].get(key, value) != value for run_id, key, value in session.execute(query)):
            return False
    return True


def _end(session: Any, table: Any, runs: Sequence[Rows]) -> None:
    ends = [(*run.end, run.run_id) for run in runs if run.end is not None]
    _run(session, f"UPDATE {table.name} SET status = ?, end_time = ? WHERE run_uuid = ?", ends)


def _insert(session: Any, into: str, conflict: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, as many with each statement as SQLite takes: between two, other threads take the interpreter."""
    if not rows:
        return
    width = len(rows[0])
    most = VALUES // width
    one, whole = f"({', '.join('?' * width)})", len(rows) // most * most
    parts = [tuple(chain.from_iterable(rows[start : start + most])) for start in range(0, whole, most)]
    _run(session, f"{into} VALUES {', '.join([one] * most)}{conflict}", parts)
    _run(session, f"{into} VALUES {one}{conflict}", rows[whole:])


def _run(session: Any, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement for each of the rows, as SQLite takes them: SQLAlchemy would look at every value."""
    if rows:
        session.connection().exec_driver_sql(statement, list(rows))


def _parts(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + ASKED] for start in range(0, len(ids), ASKED))


def _are_plain(run: Rows) -> bool:
    plain = _are_plain_points(run.points) and all(map(_is_plain_key, (*run.params, *run.tags)))
    values = (*run.params.values(), *run.tags.values())
    return plain and all(type(value) is str and len(value) <= LONGEST_TEXT for value in values)


def _are_plain_points(points: Sequence[Point]) -> bool:
    if not points:
        return True
    keys, values, times, steps = zip(*points, strict=True)
    numbers = set(map(type, values)) <= {float, int} and set(map(type, (*times, *steps))) == {int}
    return numbers and min(times) >= 0 and all(map(_is_name, set(keys)))


@lru_cache(4096)
def _is_plain_key(key: Any) -> bool:
    # Some tags of MLflow's own are more than tags.
    return _is_name(key) and not key.startswith("mlflow.")


def _is_name(key: Any) -> bool:
    # MLflow takes names for paths: `..` would lead out, and `./a` is `a`.
    leads_out = key.startswith(".") or ".." in key or "/." in key
    return len(key) <= LONGEST and NAME.fullmatch(key) is not None and not leads_out


def _age(row: tuple[Any, ...]) -> tuple[int, int, float]:
    _, _, step, at, value, _ = row
    return step, at, value
