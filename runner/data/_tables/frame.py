"""A CSV or Parquet file as a pandas frame whose columns have the names that the file gives them."""

import contextlib
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from runner.data._tables import Frame
from runner.data._tables.csv_file import read_csv
from runner.data._tables.names import completed, refuse_twins
from runner.data._tables.raw import no_text, refuse_ending
from runner.settings.errors import ConfigError
from runner.settings.memory import memory, size

#: The least bytes of a value in memory, for the types of Parquet that may take less than 8.
NARROW = {"BOOLEAN": 1, "INT32": 1, "FLOAT": 4}


def read(path: Path, key: str = "data.path", texts: Iterable[str] = ()) -> Frame:
    """Return the file's rows. Raises ConfigError for one that is no table with a row of names and a row of values.

    key: of the configuration, for messages.
    texts: columns that are text even if all that they hold in this file looks like numbers.
    A column without a name is called `Unnamed: 3` by its place from 0, as pandas does it. `attrs` of the frame has two
    mappings of columns to words: "doubts", what their numbers may be instead ("" stands for the file), and "swallowed",
    which of their values hold further rows of the file.
    """
    refuse_ending(path, key)
    try:
        is_csv = path.suffix.lower() == ".csv"
        frame = read_csv(path, key, set(texts)) if is_csv else _read_parquet(path, key)
    except ConfigError:
        raise
    except UnicodeError as error:
        raise no_text(path, key) from error
    # Arrow's errors are ValueErrors; pandas' errors about its own metadata in a Parquet file are TypeErrors.
    except (ValueError, TypeError, OSError, csv.Error) as error:
        raise ConfigError(key, f"{str(path)!r} cannot be read as a table: {str(error).strip()}") from error
    if not len(frame):
        raise ConfigError(key, f"{str(path)!r} has no rows; expected a line of names and one line per example")
    return frame


def _read_parquet(path: Path, key: str) -> Frame:
    import pandas

    _refuse_large(path, key)
    frame = pandas.read_parquet(path)
    index_names = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(index_names) if index_names else frame
    names = [str(name).strip() for name in frame.columns]
    refuse_twins(names, path, key)
    return frame.set_axis(completed(names), axis=1).reset_index(drop=True)


def _refuse_large(path: Path, key: str) -> None:
    """Raise ConfigError for more than fits into memory: a file of a few kB may hold one value a billion times."""
    from pyarrow import parquet

    metadata = parquet.read_metadata(path)
    kinds = [metadata.schema.column(i).physical_type for i in range(metadata.num_columns)]
    needed = metadata.num_rows * sum(NARROW.get(kind, 8) for kind in kinds)
    available = memory(torch.device("cpu"))
    if needed > available:
        raise ConfigError(
            key,
            f"{str(path)!r} has {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, which take at least"
            f" {size(needed)}, and there are {size(available)}; save less of it",
        )


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Add the file's name to an error about a column, for a block that reads columns."""
    try:
        yield
    except ConfigError as error:
        if not error.key.startswith(("data.features", "data.target", "data.split.", "inputs")):
            raise
        raise ConfigError(error.key, f"{str(error).removeprefix(f'{error.key}: ')}; in {str(path)!r}") from error
