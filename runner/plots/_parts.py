"""Which part of the data a plot looks at, and what it needs the data to be."""

from runner.data import Data, Source

WORDS = {"train": "training", "valid": "validation", "test": "test"}


def first_of(data: Data, *parts: str) -> tuple[str, Source]:
    """The first of these parts that there is, in words and itself."""
    part = next(part for part in parts if getattr(data, part) is not None)
    return WORDS[part], getattr(data, part)


def lacks_classes(data: Data) -> str | None:
    """Why a plot of classes is not possible."""
    if data.task == "regression":
        return "it needs classes, and the data has numbers to predict"
    several = data.train[0][1].numel()
    if data.task == "multilabel":
        return f"it needs one class per example, and the data has {several} labels per example"
    if several == len(data.classes) and data.train[0][1].is_floating_point():  # their probabilities
        return None
    return None if several == 1 else f"it needs one class per example, and the data has {several} per example"


def lacks_numbers(data: Data) -> str | None:
    """Why a plot of numbers is not possible."""
    if data.task != "regression":
        return "it needs numbers to predict, and the data has classes"
    return None if data.train[0][1].numel() else "it needs numbers to predict, and the data has none"
