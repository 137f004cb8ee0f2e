"""Tables: from the bytes of a CSV or Parquet file to columns of numbers."""

from typing import Any

# Importing pandas takes a second, and most runs read no table.
Frame = Any  # pandas.DataFrame
Series = Any  # pandas.Series
