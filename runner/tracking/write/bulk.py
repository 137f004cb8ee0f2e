"""Many points, params and tags for a run in a local store, in a seventh of the time that MLflow takes.

MLflow makes an object of every row and follows its attributes: 60 µs for a point, in which nothing is trained, and
10 ms for a call with a handful of tags. Here all of them are one transaction of a few statements, into MLflow's own
tables, by its own session. What comes out is the same, row by row; where a store is anything but what this was written
for, `log_batch` does it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: [key, value, milliseconds since 1970, step], as `MlflowClient.log_batch` takes metrics.
Point = Sequence[Any]

#: The tables that this was written for, by the names of their classes in MLflow, and the columns that are all of them.
METRIC = {"key", "value", "timestamp", "step", "is_nan", "run_uuid"}
TABLES: dict[str, set[str] | None] = {
    "SqlRun": None,
    "SqlMetric": METRIC,
    "SqlLatestMetric": METRIC,
    "SqlParam": {"key", "value", "run_uuid"},
    "SqlTag": {"key", "value", "run_uuid"},
}
#: Names that MLflow takes; it takes some others as well, and says what is wrong with the rest.
NAME = re.compile(r"[\w\-. ]+(/[\w\-. ]+)*")
LONGEST, LONGEST_TEXT = 250, 6000
#: What stands for infinity.
LARGEST = 1.7976931348623157e308

NOTHING: Mapping[str, str] = {}


def insert(
    client: "MlflowClient",
    run_id: str,
    points: Sequence[Point] = (),
    params: Mapping[str, str] = NOTHING,
    tags: Mapping[str, str] = NOTHING,
) -> bool:
    """Tell a store of these. False, and nothing is told, if that is for `log_batch` to do."""
    plain = all(map(_is_plain, points)) and all(map(_is_name, {key for key, *_ in points}))
    plain = plain and all(_is_plain_text(*told) for told in (*params.items(), *tags.items()))
    store: Any = getattr(getattr(client, "_tracking_client", None), "store", None)
    tables = _tables(store) if plain and getattr(store, "db_type", None) == "sqlite" else None
    if tables is None:
        return False
    with _session(store) as session:
        told = _Telling(session, tables, run_id)
        if not told.is_active() or not told.agrees(params):
            return False
        told.points(points)
        told.texts("SqlParam", params)
        told.texts("SqlTag", tags)
    return True


def _session(store: Any) -> Any:
    try:
        return store.ManagedSessionMaker(read_only=False)
    except TypeError:  # an older MLflow, whose sessions all write
        return store.ManagedSessionMaker()


def _tables(store: Any) -> dict[str, Any] | None:
    """MLflow's tables by the names of their classes; None where they are not as they were when this was written."""
    from mlflow.store.tracking import sqlalchemy_store

    found: dict[str, Any] = {n: getattr(getattr(sqlalchemy_store, n, None), "__table__", None) for n in TABLES}
    if type(store) is not sqlalchemy_store.SqlAlchemyStore or any(table is None for table in found.values()):
        return None
    for name, columns in TABLES.items():
        if columns is not None and {column.name for column in found[name].columns} != columns:
            return None
    return found


@dataclass
class _Telling:
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
        """Whether none of them has another value already, which MLflow refuses."""
        from sqlalchemy import select

        if not params:
            return True
        table = self.tables["SqlParam"]
        known = self.session.execute(select(table.c.key, table.c.value).where(table.c.run_uuid == self.run_id))
        return all(params.get(key, value) == value for key, value in known)

    def points(self, points: Sequence[Point]) -> None:
        from sqlalchemy.dialects.sqlite import insert as statement

        if not points:
            return
        rows = [_row(self.run_id, *point) for point in points]
        newest = list({row["key"]: row for row in sorted(rows, key=_age)}.values())
        self.session.execute(statement(self.tables["SqlMetric"]).on_conflict_do_nothing(), rows)
        self.session.execute(_newer(self.tables["SqlLatestMetric"]), newest)

    def texts(self, table: str, texts: Mapping[str, str]) -> None:
        from sqlalchemy.dialects.sqlite import insert as statement

        if not texts:
            return
        told = statement(self.tables[table])
        told = told.on_conflict_do_update(index_elements=["key", "run_uuid"], set_={"value": told.excluded.value})
        self.session.execute(told, [{"run_uuid": self.run_id, "key": k, "value": v} for k, v in texts.items()])


def _newer(latest: Any) -> Any:
    """What is in the table stays where it is as new, which MLflow sees by step, time and value."""
    from sqlalchemy import tuple_
    from sqlalchemy.dialects.sqlite import insert as statement

    told, names = statement(latest), ("step", "timestamp", "value")
    return told.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: told.excluded[name] for name in (*names, "is_nan")},
        where=tuple_(*(told.excluded[n] for n in names)) > tuple_(*(latest.c[n] for n in names)),
    )


def _is_plain(point: Point) -> bool:
    _, value, time, step = point
    return type(value) in (float, int) and type(time) is int and type(step) is int and time >= 0


def _is_plain_text(key: Any, value: Any) -> bool:
    # Some tags of MLflow's own are more than tags.
    return _is_name(key) and not key.startswith("mlflow.") and type(value) is str and len(value) <= LONGEST_TEXT


def _is_name(key: Any) -> bool:
    # MLflow takes names for paths: `..` would lead out, and `./a` is `a`.
    led = key.startswith(".") or ".." in key or "/." in key
    return len(key) <= LONGEST and NAME.fullmatch(key) is not None and not led


def _row(run_id: str, key: str, value: float, time: int, step: int) -> dict[str, Any]:
    no_number = math.isnan(value)
    value = 0.0 if no_number else min(max(float(value), -LARGEST), LARGEST)
    return {"run_uuid": run_id, "key": key, "value": value, "timestamp": time, "step": step, "is_nan": no_number}


def _age(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]
