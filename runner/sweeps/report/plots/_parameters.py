"""The varied keys as axes: positions are numbers if all values are numbers, indices otherwise."""

from dataclasses import dataclass

from runner.settings.trust import terminal
from runner.sweeps.report import words
from runner.sweeps.report.table import Row, Table

SEED = "seed"
MISSING = "\N{EN DASH}"  # the job does not set this key
DECADES = 100.0  # ratio of the largest to the smallest result from which an axis is logarithmic
DECADE = 10.0  # the same for a varied key: learning rates are chosen by their logarithm


@dataclass(frozen=True)
class Parameter:
    """A varied key, as an axis of a plot."""

    key: str
    name: str  # the shortest ending that no other key has
    values: list[str]  # each value once, as typed; numbers by size, then other texts in their order
    numeric: bool
    log: bool

    def place(self, row: Row) -> float:
        """Return the position of `row` on the axis: its number, or the index of its value."""
        typed = _typed(row, self.key)
        return float(typed) if self.numeric else float(self.values.index(typed))

    @property
    def places(self) -> list[float]:
        """The positions of all values."""
        return [float(v) for v in self.values] if self.numeric else [float(i) for i in range(len(self.values))]


def parameters(table: Table) -> list[Parameter]:
    """Return all keys with more than one value, in the order in which they were typed."""
    names = words.short(table.keys)
    axes = [_parameter(table, key, names[key]) for key in table.keys]
    return [parameter for parameter in axes if len(parameter.values) > 1]


def tuned(table: Table) -> list[Parameter]:
    """Return the parameters without the seed: nobody chooses the best seed."""
    return [parameter for parameter in parameters(table) if parameter.key != SEED]


def drawable(rows: list[Row]) -> list[Row]:
    """Return the rows with a value that can be drawn."""
    return [row for row in rows if row.value is not None and abs(row.value) < 1e300]


def spans(values: list[float], times: float = DECADES) -> bool:
    """Return whether all values are positive and the largest is at least `times` the smallest."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= times


def number(text: str) -> float | None:
    """Return `text` as a finite number, None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None


def _parameter(table: Table, key: str, name: str) -> Parameter:
    typed = list(dict.fromkeys(_typed(row, key) for row in table.rows))
    numbers = {text: number(text) for text in typed}
    numeric = None not in numbers.values()
    once = {numbers[text] if numeric else text: text for text in reversed(typed)}  # 0.1 and 1e-1 are one number
    inorder = sorted(once.values(), key=lambda text: (numbers[text] is None, numbers[text] or 0.0, typed.index(text)))
    log = numeric and spans([value for value in numbers.values() if value is not None], DECADE)
    return Parameter(key, name, inorder, numeric, log)


def _typed(row: Row, key: str) -> str:
    return terminal.line(row.overrides.get(key, MISSING)) or "''"
