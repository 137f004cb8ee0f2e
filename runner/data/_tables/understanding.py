"""A column as what it looks like: numbers, true and false or text, or a refusal where it may be something else."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runner.data._tables import Frame, Series
from runner.data._tables.column import Column, Kind, composed, is_categorical, kind_of, numbers_of, text_of
from runner.data._tables.names import listed
from runner.data._tables.selection import Without
from runner.data._tables.texts import is_date, parse_number, remedy, stand_for_nothing
from runner.settings.errors import ConfigError, did_you_mean

#: Texts that one column may hold. Each becomes a column of 0 and 1; a name or a date in every row would be hundreds.
MOST = 100
#: Whole numbers up to this are different numbers in float64 too.
EXACT = 2**53
#: A text column with more different texts than this is expected to have each of them twice, on average.
FEW = 10


def understand(
    frame: Frame, name: str, key: str, without: Without, classes: bool = False, categorical: bool = False
) -> Column:
    """Return a column as what it looks like. Raises ConfigError for what should not be guessed at.

    name: of a column without missing values.
    key: of the configuration, for messages.
    without: gives the words that leave columns out.
    classes: True where `data.task=classification` makes these classes, which may be called 1, 2 and x.
    categorical: True where a person has said so: any texts, and any number of them.
    """
    if name in (swallowed := frame.attrs.get("swallowed", {})):
        raise ConfigError(key, f"column {name!r} {swallowed[name]}")
    series = frame[name]
    if categorical:
        return text_of(series, name, key)
    kind = kind_of(series, name, key, without)
    if kind != "text":
        numbers = Column(name, kind, numbers_of(series, name, key, kind), [])
        _refuse_rounded(series, numbers, key, without)
        return numbers
    column = text_of(series, name, key)
    if not is_categorical(series):
        _refuse_written(column, key, without, classes)
    _refuse_many(column, key, without)
    return column


def recorded_column(frame: Frame, name: str, key: str, kind: Kind, categories: list[str]) -> Column:
    """Return a column of another file as what it was in the file that a model was trained on.

    kind, categories: those of the column then. Raises ConfigError where this file holds something else.
    """
    series = frame[name]
    if kind == "text":
        return _among(text_of(series, name, key), categories, key)
    kind_now = kind_of(series, name, key)
    if kind_now == "text":
        _refuse_written(text_of(series, name, key), key, lambda *names: "and train without it")
    numbers = numbers_of(series, name, key, kind_now) if kind_now != "text" else np.zeros(0)
    is_truth = kind == "truth" and kind_now == "numbers" and np.isin(numbers, (0, 1)).all()
    if kind_now != kind and not is_truth:
        words = {"numbers": "numbers", "truth": "true and false", "text": "text"}
        remedy = ": write true and false, or 1 and 0" if kind == "truth" else ""
        raise ConfigError(
            key, f"column {name!r} holds {words[kind_now]}, and the model was trained with {words[kind]}{remedy}"
        )
    return Column(name, kind, numbers, [])


def _among(column: Column, categories: list[str], key: str) -> Column:
    """Return the column with the recorded categories in their order. Raises ConfigError for a text that is none."""
    index = {composed(text): place for place, text in enumerate(categories)}
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


def _refuse_rounded(series: Series, column: Column, key: str, without: Without) -> None:
    """Raise ConfigError for ids of 17 digits and more, of which several would become one number."""
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


def _refuse_written(column: Column, key: str, without: Without, classes: bool = False) -> None:
    """Raise ConfigError for numbers and dates written as text: each would become a column of 0 and 1, or a class."""
    import pandas

    name, texts = column.name, column.categories
    counts = np.bincount(column.values, minlength=len(texts))
    plain = pandas.to_numeric(pandas.Series(texts, dtype=object), errors="coerce").notna().to_numpy()
    numbers = _where(plain, texts, parse_number)
    half = len(column.values) / 2
    others = [text for text, is_number in zip(texts, numbers, strict=True) if not is_number]
    nothing = others and numbers.any() and stand_for_nothing(others)
    if (counts[numbers].sum() > half and not (classes and others)) or nothing:
        few = len(texts) <= FEW or 2 * len(texts) <= len(column.values)
        raise _numbers_as_text(column, plain, numbers, key, _as_categories(name, key) if few and not nothing else "")
    dates = _where(numbers, texts, is_date) & ~numbers
    if counts[dates].sum() > half:
        row = int(dates[column.values].argmax())
        raise ConfigError(
            key,
            f"column {name!r} holds dates or times as text, {texts[column.values[row]]!r} in row {row}; each would"
            f" be a category of its own: leave it out, {without(name)}, or make numbers of it",
        )


def _where(passed: NDArray[np.bool_], texts: list[str], test: Callable[[str], object]) -> NDArray[np.bool_]:
    """Return which texts pass the test; of those that have `passed` already, none is tested again.

    A million plain numbers need not be read as texts.
    """
    result = passed.copy()
    for place in np.flatnonzero(~passed).tolist():
        result[place] = bool(test(texts[place]))
    return result


def _as_categories(name: str, key: str) -> str:
    """Return the remedy that makes classes or categories of numbers and words together."""
    if key == "data.target":
        return ", or take all of them for classes, data.task=classification"
    return f"; as categories each needs a letter, pandas: frame[{name!r}] = 'c' + frame[{name!r}].astype(str)"


def _numbers_as_text(
    column: Column, plain: NDArray[np.bool_], numbers: NDArray[np.bool_], key: str, also: str
) -> ConfigError:
    """Return the error for a column of text most of whose rows hold numbers.

    plain, numbers: which of its categories pandas reads as a number, and which are one however it is written.
    also: a further remedy.
    """
    name, texts = column.name, column.categories
    if plain.all():
        return ConfigError(
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
        return ConfigError(
            key,
            f"column {name!r} holds numbers, but {text!r} in row {row} and {total:,} of {len(rows):,} rows hold text;"
            f" replace it by a number, or drop those rows{also}",
        )
    number = parse_number(text)
    assert number is not None
    return ConfigError(
        key,
        f"column {name!r} holds numbers written as text: {text!r} in row {row} has {number.form}, and so on in"
        f" {total:,} of {len(rows):,} rows; {remedy([t for t, o in zip(texts, odd, strict=True) if o], name)}",
    )


def _refuse_many(column: Column, key: str, without: Without) -> None:
    """Raise ConfigError for texts that hardly ever come twice: names or ids, from which nothing can be learned."""
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
