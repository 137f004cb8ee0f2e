"""One column of a table: numbers, true and false, or texts, and the same as columns of numbers."""

import re
import unicodedata
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.data._tables import Frame, Series
from runner.data._tables.names import need
from runner.data._tables.selection import Without
from runner.data._values import Values, floats
from runner.settings.errors import ConfigError

#: Characters of a text: longer ones are no names of anything.
LONGEST = 1000

#: A whole number as pandas writes it where other rows of its column have no value.
WHOLE = re.compile(r"^(-?\d+)\.0+$")

Kind = Literal["numbers", "truth", "text"]


class Column(NamedTuple):
    """A column without missing values."""

    name: str
    kind: Kind
    values: NDArray[Any]  # float64 numbers, 0 and 1 for false and true, or int64 indices of `categories`
    categories: list[str]  # the different texts, sorted; empty for what is no text

    @property
    def width(self) -> int:
        """The number of columns of x that it becomes."""
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


def kind_of(series: Series, name: str, key: str, without: Without | None = None) -> Kind:
    """Return what a column without missing values holds. Raises ConfigError for dates, objects and the like."""
    from pandas.api import types

    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf":
        return "numbers"
    if is_categorical(series) or types.is_string_dtype(series):
        return "text"
    if types.is_bool_dtype(series):
        return "truth"
    if types.is_numeric_dtype(series) and not types.is_complex_dtype(series):
        return "numbers"
    # A column that pandas calls an object may hold anything: then the type of its first value.
    type_name = f"values of type {type(series.iloc[0]).__name__}" if series.dtype == object else str(series.dtype)
    raise ConfigError(
        key,
        f"column {name!r} holds {type_name}; expected numbers, true/false or text: convert it"
        + (f", or leave it out, {without(name)}" if without else ""),
    )


def numbers_of(series: Series, name: str, key: str, kind: Kind) -> NDArray[np.float64]:
    """Return a column of numbers, or of true and false, as float64. Raises ConfigError for values that are not finite.

    Values that float32 cannot hold count as infinite: a model computes with those.
    """
    if kind == "truth":
        return series.to_numpy(dtype=bool).astype(np.float64)  # type: ignore[no-any-return]
    numbers = series.to_numpy(dtype=np.float64)
    with np.errstate(over="ignore"):
        fits = np.isfinite(numbers.astype(np.float32)).all()
    if not fits:
        floats(Values(numbers, f"column {name!r}, row ", key))
    return numbers  # type: ignore[no-any-return]


def text_of(series: Series, name: str, key: str) -> Column:
    """Return a column of text: its different texts, without spaces around them, and which of them each row has."""
    import pandas

    codes, values = pandas.factorize(series)
    texts = [composed(str(value).strip()) for value in values]
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


def composed(text: str) -> str:
    """Return the text with each letter and its accents as one character: some systems write two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_categorical(series: Series) -> bool:
    """Return whether pandas holds the column as categories, which a person has made of it."""
    from pandas.api import types

    return isinstance(series.dtype, types.CategoricalDtype)


def as_texts(frame: Frame, names: list[str], key: str = "data.features") -> Frame:
    """Return the rows with these columns as texts; whole numbers have no decimal point. Missing values stay.

    key: of the configuration. Raises ConfigError for names that are no columns.
    """
    if not names:
        return frame
    need(frame, names, key)
    attributes, frame = frame.attrs, frame.assign(**{name: _texts(frame[name]) for name in names})
    frame.attrs = attributes
    return frame


def _texts(series: Series) -> Series:
    return series.astype(object).map(lambda value: WHOLE.sub(r"\1", str(value).strip()), na_action="ignore")
