"""Data that a program in Python hands over: `runner.train(study, data=Data(...))`."""

from runner.data import Data
from runner.settings import given as things


def given() -> Data:
    """Return the data that the calling program has handed over. Raises ConfigError where there is no such program."""
    data: Data = things.taken("data")
    return data
