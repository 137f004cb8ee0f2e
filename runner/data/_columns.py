"""What a table's column holds - numbers, true and false, or texts - and the column as numbers."""

import re
import unicodedata
from collections.abc import Callable
from textwrap import shorten
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.data._frame import Frame, listed
from runner.data._values import Values, floats
from runner.data._written import MISSING, is_date, remedy, stand_for_nothing, written
from runner.settings.errors import ConfigError, did_you_mean

#: Texts that one column may hold. Each becomes a column of 0 and 1; a name or a date in every row would be hundreds.
MOST = 100
#: Characters of a text: longer ones are no names of anything.
LONGEST = 1000
#: Whole numbers up to this are told apart by float64.
EXACT = 2**53
#: A text column with more different texts than this is expected to have each of them twice, on average.
FEW = 10

Series = Any  # pandas.Series
Kind = Literal["numbers", "truth", "text"]


class Column(NamedTuple):
    """A column without missing values."""

    name: str
    kind: Kind
    values: NDArray[Any]  # float64 numbers, 0 and 1 for false and true, or int64 indices of `categories`
    categories: list[str]  # the different texts, sorted; empty for what is no text

    @property
    def width(self) -> int:
        """Columns of x that it becomes."""
        return len(self.categories) if self.kind == "text" else 1

    @property
    def features(self) -> list[str]:
        """The names of the columns of x that it becomes."""
        return [f"{self.name}={text}" for text in self.categories] if self.kind == "text" else [self.name]

    @property
    def array(self) -> NDArray[Any]:
        """The values as they were read: float64, bool or text."""
        if self.kind == "text":
            return np.asarray(np.asarray(self.categories)[self.values])
        return self.values.astype(bool) if self.kind == "truth" else self.values

    def fill(self, out: NDArray[np.float64]) -> None:
        """Write its columns of x, of shape (rows, width), over the zeros in `out`."""
        if self.kind == "text":
            out[np.arange(len(self.values)), self.values] = 1.0
        else:
            out[:, 0] = self.values


#: (names of columns) -> the words of a command line that leave them out
Without = Callable[..., str]


def understand(frame: Frame, name: str, key: str, without: Without, classes: bool = False) -> Column:
    """A column as what it looks like. Raises ConfigError for what should not be guessed at.

    key: of the configuration, for messages. without: what leaves columns out.
    classes: whether the person says that these are classes, which may be called 1, 2 and x.
    """
    if name in (held := frame.attrs.get("swallowed", {})):
        raise ConfigError(key, f"column {name!r} {held[name]}")
    series = frame[name]
    kind = kind_of(series, name, key, without)
    if kind != "text":
        numbers = Column(name, kind, _numbers(series, name, key, kind), [])
        _refuse_rounded(series, numbers, key, without)
        return numbers
    column = _text(series, name, key)
    if not _is_categorical(series):
        _refuse_written(column, key, without, classes)
    _refuse_many(column, key, without)
    return column


def recorded(frame: Frame, name: str, key: str, kind: Kind, categories: list[str]) -> Column:
    """A column of another file as what it was in the file that a model was trained on."""
    series = frame[name]
    if kind == "text":
        return _among(_text(series, name, key), categories, key)
    here = kind_of(series, name, key)
    if here == "text":
        _refuse_written(_text(series, name, key), key, lambda *names: "and train without it")
    numbers = _numbers(series, name, key, here)
    if here != kind and not (kind == "truth" and here == "numbers" and np.isin(numbers, (0, 1)).all()):
        words = {"numbers": "numbers", "truth": "true and false", "text": "text"}
        remedy = ": write true and false, or 1 and 0" if kind == "truth" else ""
        raise ConfigError(
            key, f"column {name!r} holds {words[here]}, and the model was trained with {words[kind]}{remedy}"
        )
    return Column(name, kind, numbers, [])


def kind_of(series: Series, name: str, key: str, without: Without | None = None) -> Kind:
    """What a column without missing values holds; ConfigError for dates, objects and the like."""
    from pandas.api import types

    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf":
        return "numbers"
    if _is_categorical(series) or types.is_string_dtype(series):
        return "text"
    if types.is_bool_dtype(series):
        return "truth"
    if types.is_numeric_dtype(series) and not types.is_complex_dtype(series):
        return "numbers"
    raise ConfigError(
        key,
        f"column {name!r} holds {_type(series)}; expected numbers, true/false or text: convert it"
        + (f", or leave it out, {without(name)}" if without else ""),
    )


def _type(series: Series) -> str:
    """The type of a column's values, where pandas knows it or else of the first."""
    return f"values of type {type(series.iloc[0]).__name__}" if series.dtype == object else str(series.dtype)


def refuse_missing(frame: Frame, names: list[str], key: str, without: Without | None = None) -> None:
    """Raise ConfigError where values are missing, with what would help: it never advises to drop every row.

    without: what leaves columns out; None where they cannot be spared.
    """
    empty = frame[names].isna().to_numpy().any(axis=0)
    suspects = [
        n for n, is_empty, dtype in zip(names, empty, frame[names].dtypes, strict=True) if is_empty or _words(dtype)
    ]
    missing = {name: rows for name in suspects if (rows := _missing(frame[name])).any()}
    if not missing:
        return
    total = len(frame)
    sparse = [name for name, rows in missing.items() if 2 * rows.sum() > total]
    remedies = []
    if sparse and without:
        remedies.append(f"leave out what is mostly empty, {without(*sparse)}")
    dense = {name: rows for name, rows in missing.items() if name not in sparse}
    left = int((~np.any(list(dense.values()), axis=0)).sum()) if dense else 0
    if left:
        dropped = f"pandas: frame = frame.dropna(subset={list(dense)!r}), which leaves {left:,} of {total:,} rows"
        remedies.append("fill them in" if not remedies else "fill in the others")
        remedies.append(f"drop those rows, {dropped}" if _plainly(frame, dense) else "drop those rows")
    elif not remedies:
        remedies.append("fill them in")
    if dense and without:
        remedies.append(f"leave the column{'s' * (len(missing) > 1)} out, {without(*missing)}")
    counts = ", ".join(f"{name!r} in {int(rows.sum()):,}" for name, rows in missing.items())
    first, rows = next(iter(missing.items()))
    raise ConfigError(
        key,
        f"values are missing: {shorten(counts, 300)} of {total:,} rows, first {first!r} in row {int(rows.argmax())}"
        f" (empty cells, NA, null and None count); {'; or '.join(remedies)}",
    )


def _plainly(frame: Frame, names: Any) -> bool:
    """Whether pandas sees the missing values too: it takes `Na` for a text."""
    return not frame[list(names)].notna().all(axis=1)[np.any([_missing(frame[n]) for n in names], axis=0)].any()


def _words(dtype: Any) -> bool:
    """Whether a column of this type may hold words."""
    return not isinstance(dtype, np.dtype) or dtype.kind == "O"


def _missing(series: Series) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = series.isna().to_numpy()
    if not _words(series.dtype):
        return rows
    try:
        values = series.unique()
    except TypeError:  # lists and mappings, of which `understand` says that they are none of what is expected
        return rows
    words = [text for text in values if isinstance(text, str) and _is_nothing(text)]
    return rows | series.isin(words).to_numpy() if words else rows


def _is_nothing(text: str) -> bool:
    return text.strip()[:20].casefold() in _NOTHING


_NOTHING = {*MISSING, ""}


def _is_categorical(series: Series) -> bool:
    from pandas.api import types

    return isinstance(series.dtype, types.CategoricalDtype)


def _numbers(series: Series, name: str, key: str, kind: Kind) -> NDArray[np.float64]:
    if kind == "text":
        return np.zeros(0)
    if kind == "truth":
        return series.to_numpy(dtype=bool).astype(np.float64)  # type: ignore[no-any-return]
    numbers = series.to_numpy(dtype=np.float64)
    with np.errstate(over="ignore"):
        fits = np.isfinite(numbers.astype(np.float32)).all()
    if not fits:
        floats(Values(numbers, f"column {name!r}, row ", key))
    return numbers  # type: ignore[no-any-return]


def _refuse_rounded(series: Series, column: Column, key: str, without: Without) -> None:
    """Ids of 17 digits and more, of which several would become one number."""
    large = series.dtype.kind in "iu" and np.abs(column.values).max() > EXACT
    if not large or series.nunique() == len(np.unique(column.values)):
        return
    name, value = column.name, int(series.iloc[int(np.abs(column.values).argmax())])
    out = "" if key == "data.target" else f"leave it out, {without(name)}, or "
    raise ConfigError(
        key,
        f"column {name!r} holds whole numbers such as {value}, of which several become one number, as all above"
        f" {EXACT:,} may: {out}make text of it, pandas: frame[{name!r}] = 'c' + frame[{name!r}].astype(str)",
    )


def _text(series: Series, name: str, key: str) -> Column:
    """Different texts, without spaces around them, and which one stands in each row."""
    import pandas

    codes, found = pandas.factorize(series)
    texts = [_composed(str(text).strip()) for text in found]
    for code, text in enumerate(texts):
        if len(text) > LONGEST:
            row = int((codes == code).argmax())
            raise ConfigError(
                key,
                f"column {name!r} holds a text of {len(text):,} characters in row {row}, which begins with"
                f" {text[:40]!r}; expected at most {LONGEST:,}, as the name of a class or a category has: leave the"
                " column out, or shorten it",
            )
    # No array of NumPy's, in which every text takes as much memory as the longest.
    categories = sorted(set(texts))
    index = {text: place for place, text in enumerate(categories)}
    places = np.fromiter((index[text] for text in texts), np.int64, len(texts))
    return Column(name, "text", places[codes], categories)


def _composed(text: str) -> str:
    """The text with each letter and its accents as one character: some systems write two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _among(column: Column, categories: list[str], key: str) -> Column:
    index = {_composed(text): place for place, text in enumerate(categories)}
    for code, text in enumerate(column.categories):
        if text not in index:
            row = int((column.values == code).argmax())
            raise ConfigError(
                key,
                f"column {column.name!r} holds {text!r} in row {row}; expected one of {listed(categories)}, which the"
                f" model was trained with{did_you_mean(text, categories)}",
            )
    places = np.asarray([index[text] for text in column.categories], dtype=np.int64)
    return Column(column.name, "text", places[column.values], categories)


def _refuse_written(column: Column, key: str, without: Without, classes: bool = False) -> None:
    """Numbers and dates that were written as text would each become a column of 0 and 1, or a class."""
    import pandas

    name, texts = column.name, column.categories
    counts = np.bincount(column.values, minlength=len(texts))
    plain = pandas.to_numeric(pandas.Series(texts, dtype=object), errors="coerce").notna().to_numpy()
    numbers = _where(plain, texts, written)
    half = len(column.values) / 2
    others = [text for text, is_number in zip(texts, numbers, strict=True) if not is_number]
    nothing = others and numbers.any() and stand_for_nothing(others)
    if (counts[numbers].sum() > half and not (classes and others)) or nothing:
        few = len(texts) <= FEW or 2 * len(texts) <= len(column.values)
        _refuse_numbers(column, plain, numbers, key, _named(name, key) if few and not nothing else "")
    dates = _where(numbers, texts, is_date) & ~numbers
    if counts[dates].sum() > half:
        row = int(dates[column.values].argmax())
        raise ConfigError(
            key,
            f"column {name!r} holds dates or times as text, {texts[column.values[row]]!r} in row {row}; each would"
            f" be a category of its own: leave it out, {without(name)}, or make numbers of it",
        )


def _where(known: NDArray[np.bool_], texts: list[str], test: Callable[[str], Any]) -> NDArray[np.bool_]:
    """`known`, and the other texts that pass the test: of a million numbers, none has to be read as a text."""
    found = known.copy()
    for place in np.flatnonzero(~known).tolist():
        found[place] = bool(test(texts[place]))
    return found


def _named(name: str, key: str) -> str:
    """What makes classes or categories of numbers and words together."""
    if key == "data.target":
        return ", or take all of them for classes, data.task=classification"
    return f"; as categories each needs a letter, pandas: frame[{name!r}] = 'c' + frame[{name!r}].astype(str)"


def _refuse_numbers(column: Column, plain: NDArray[np.bool_], numbers: NDArray[np.bool_], key: str, also: str) -> None:
    name, texts = column.name, column.categories
    if plain.all():
        raise ConfigError(
            key,
            f"column {name!r} holds numbers as text, {texts[column.values[0]]!r} in row 0; make numbers of it, pandas:"
            f" frame[{name!r}] = frame[{name!r}].astype(float), or categories: frame[{name!r}] ="
            f" frame[{name!r}].astype('category')",
        )
    words = ~numbers
    odd = words if words.any() else ~plain
    rows = odd[column.values]
    row, total = int(rows.argmax()), int(rows.sum())
    text = texts[column.values[row]]
    if words.any():
        raise ConfigError(
            key,
            f"column {name!r} holds numbers, but {text!r} in row {row} and {total:,} of {len(rows):,} rows hold text;"
            f" replace it by a number, or drop those rows{also}",
        )
    number = written(text)
    assert number is not None
    raise ConfigError(
        key,
        f"column {name!r} holds numbers written as text: {text!r} in row {row} has {number.form}, and so on in"
        f" {total:,} of {len(rows):,} rows; {remedy([t for t, o in zip(texts, odd, strict=True) if o], name)}",
    )


def _refuse_many(column: Column, key: str, without: Without) -> None:
    """Texts that hardly ever come twice are names or ids: nothing can be learned from them."""
    name, different, total = column.name, len(column.categories), len(column.values)
    is_target = key == "data.target"
    if different > FEW and 2 * different > total:
        what = "a class" if is_target else "a column of 0 and 1"
        remedy = "predict another column" if is_target else f"leave it out, {without(name)}"
        raise ConfigError(
            key,
            f"column {name!r} holds {different:,} different texts in {total:,} rows, {column.categories[0]!r} and so"
            f" on; each would become {what}, and hardly any comes twice: {remedy}, or turn it into numbers",
        )
    if different > MOST and not is_target:
        raise ConfigError(
            key,
            f"column {name!r} holds {different:,} different texts; expected at most {MOST}, each of which becomes a"
            f" column of 0 and 1; leave it out, {without(name)}, or turn it into numbers",
        )


#: Names that people give to columns which only tell the rows apart.
_ID = re.compile(
    r"(?i)(.*[_ ])?(id|ids|idx|index|uuid|key|nr|no|row|rowid|row[_ ]?number|record)|#|.*[a-z](Id|ID|Index)"
)


def is_id(column: Column) -> bool:
    """Whether a column of numbers only tells the rows apart: it counts them, or is called an id and never repeats."""
    values = column.values
    if column.kind != "numbers" or len(values) < FEW or not (values == np.floor(values)).all():
        return False
    counts = values.max() - values.min() == len(values) - 1
    if not counts and not _ID.fullmatch(column.name):
        return False
    return len(np.unique(values)) == len(values)


def are_dates(column: Column) -> bool:
    """Whether whole numbers are written as dates are without their dashes, 20240131: none is a distance in time."""
    if column.kind != "numbers" or not ((column.values >= 19000101) & (column.values <= 21001231)).all():
        return False
    months, days = column.values // 100 % 100, column.values % 100
    return bool(((months >= 1) & (months <= 12) & (days >= 1) & (days <= 31) & (days == np.floor(days))).all())


def describe(column: Column) -> str:
    """Words for what a column holds, for the report."""
    values, total = column.values, len(column.values)
    if column.kind == "text":
        counts = np.bincount(values, minlength=len(column.categories))
        shown = zip(column.categories[:100], counts[:100].tolist(), strict=True)  # which is more than there is room for
        each = ", ".join(f"{text!r} {n:,}" for text, n in shown)
        alike = {text.casefold() for text in column.categories}
        twins = "; some differ in upper and lower case only" if len(alike) < len(column.categories) else ""
        return f"text, {_count(len(column.categories), 'category', 'categories')}: {shorten(each, 120)}{twins}"
    if column.kind == "truth":
        return f"true and false: {int(values.sum()):,} true, {int(total - values.sum()):,} false"
    low, high = (f"{v:.10g}" if v == np.floor(v) else f"{v:g}" for v in (values.min(), values.max()))
    return f"numbers, always {low}" if low == high else f"numbers, {low} to {high}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
