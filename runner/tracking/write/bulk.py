"""Many points, params and tags for a run in a local store, in a seventh of the time that MLflow takes.

MLflow makes an object of every row and follows its attributes: 60 µs for a point, in which nothing is trained, and
10 ms for a call with a handful of tags. Here all of them are one transaction of a few statements, into MLflow's own
tables, by its own session (`store/mlflow_private.py`). The rows are the same, one by one. In a store with other tables,
and for values that MLflow may refuse, nothing is written here, and the caller uses `log_batch`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

NOTHING: Mapping[str, str] = {}


def insert(
    client: "MlflowClient",
    run_id: str,
    points: Sequence[Point] = (),
    params: Mapping[str, str] = NOTHING,
    tags: Mapping[str, str] = NOTHING,
) -> bool:
    """Write points, params and tags of a run into its store. Returns False, and writes nothing, if MLflow has to.

    points: [key, value, milliseconds since 1970, step] of each.
    MLflow has to for a store that is no SQLite file with the expected tables, for a run that was deleted, for a param
    that has another value already, and for any value or name that MLflow may refuse or treat specially.
    """
    plain = all(map(_is_plain, points)) and all(map(_is_name, {key for key, *_ in points}))
    plain = plain and all(_is_plain_text(*pair) for pair in (*params.items(), *tags.items()))
    tables = mlflow_private.tables(client) if plain else None
    if tables is None:
        return False
    with mlflow_private.session(client) as session:
        statements = _Statements(session, tables, run_id)
        if not statements.is_active() or not statements.agrees(params):
            return False
        statements.points(points)
        statements.texts("SqlParam", params)
        statements.texts("SqlTag", tags)
    return True


@dataclass
class _Statements:
    """The statements of one transaction."""

    session: Any
    tables: dict[str, Any]
    run_id: str

    def is_active(self) -> bool:
        from sqlalchemy import select

        runs = self.tables["SqlRun"]
        state = self.session.execute(select(runs.c.lifecycle_stage).where(runs.c.run_uuid == self.run_id)).scalar()
        return bool(state == "active")

    def agrees(self, params: Mapping[str, str]) -> bool:
        """Return whether no param has another value already, which MLflow refuses."""
        from sqlalchemy import select

        if not params:
            return True
        table = self.tables["SqlParam"]
        recorded = self.session.execute(select(table.c.key, table.c.value).where(table.c.run_uuid == self.run_id))
        return all(params.get(key, value) == value for key, value in recorded)

    def points(self, points: Sequence[Point]) -> None:
        from sqlalchemy.dialects import sqlite

        if not points:
            return
        rows = [_row(self.run_id, *point) for point in points]
        newest = list({row["key"]: row for row in sorted(rows, key=_age)}.values())
        self.session.execute(sqlite.insert(self.tables["SqlMetric"]).on_conflict_do_nothing(), rows)
        self.session.execute(_newer(self.tables["SqlLatestMetric"]), newest)

    def texts(self, table: str, texts: Mapping[str, str]) -> None:
        from sqlalchemy.dialects import sqlite

        if not texts:
            return
        insertion = sqlite.insert(self.tables[table])
        statement = insertion.on_conflict_do_update(
            index_elements=["key", "run_uuid"], set_={"value": insertion.excluded.value}
        )
        self.session.execute(statement, [{"run_uuid": self.run_id, "key": k, "value": v} for k, v in texts.items()])


def _newer(latest: Any) -> Any:
    """Return the statement that replaces a row only by a newer one, which MLflow decides by step, time and value."""
    from sqlalchemy import tuple_
    from sqlalchemy.dialects import sqlite

    insertion, names = sqlite.insert(latest), ("step", "timestamp", "value")
    return insertion.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: insertion.excluded[name] for name in (*names, "is_nan")},
        where=tuple_(*(insertion.excluded[n] for n in names)) > tuple_(*(latest.c[n] for n in names)),
    )


def _is_plain(point: Point) -> bool:
    _, value, time, step = point
    return type(value) in (float, int) and type(time) is int and type(step) is int and time >= 0


def _is_plain_text(key: Any, value: Any) -> bool:
    # Some tags of MLflow's own are more than tags.
    return _is_name(key) and not key.startswith("mlflow.") and type(value) is str and len(value) <= LONGEST_TEXT


def _is_name(key: Any) -> bool:
    # MLflow takes names for paths: `..` would lead out, and `./a` is `a`.
    leads_out = key.startswith(".") or ".." in key or "/." in key
    return len(key) <= LONGEST and NAME.fullmatch(key) is not None and not leads_out


def _row(run_id: str, key: str, value: float, time: int, step: int) -> dict[str, Any]:
    is_nan = math.isnan(value)
    value = 0.0 if is_nan else min(max(float(value), -LARGEST), LARGEST)
    return {"run_uuid": run_id, "key": key, "value": value, "timestamp": time, "step": step, "is_nan": is_nan}


def _age(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]
