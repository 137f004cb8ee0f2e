"""Text of one's own, to predict each next character or word of: a file cut into windows."""

from typing import Any, Literal

import torch
from torch import Tensor

from runner.data import Data, Tensors
from runner.data._files import file
from runner.data._parts import check_fractions
from runner.data._values import MOST
from runner.data._vocabulary import UNKNOWN, encode, label, most_frequent, read, split_up
from runner.settings.errors import ConfigError


def text(
    path: str | None = None,
    length: int = 64,
    step: int | None = None,
    tokens: Literal["characters", "words"] = "characters",
    vocabulary: int | None = None,
    lower: bool = False,
    valid: float = 0.15,
    test: float = 0.15,
) -> Data:
    """Read a text: x as int64 of shape (N, length), tokens by their numbers; y, the next one at each place, the same.

    path: a text file in UTF-8, relative to the working directory.
    length: tokens in a window.
    step: tokens from the beginning of one window to that of the next; None: `length`, so that none is in two windows.
    tokens: "characters", or "words": letters and digits in a row, and each other sign that is not empty.
    vocabulary: keep only so many different tokens, the most frequent of the training part, and read all others as one
        that stands for unknown ones; None: all of the file.
    lower: read all letters as small ones.
    valid, test: fractions of the text: the beginning trains, the end tests. No window crosses from one part to another.
    `notes` of what is returned: `vocabulary` holds the tokens in the order of their numbers.
    Raises ConfigError when the file is missing or no text, and when a part is shorter than one window.
    """
    existing = file(path, "data.path", "a text file", "file.txt")
    check_fractions(valid, test)
    pieces = split_up(read(existing, "data.path"), tokens, lower)
    ends = _ends(len(pieces), valid, test)
    kept = most_frequent(pieces, pieces[: ends[0]], vocabulary)
    notes = {"vocabulary": kept, "tokens": tokens, "lower": lower, "length": length}
    return _data(str(path), pieces, notes, ends, step, valid, test)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read another text with the vocabulary of a recorded run. Raises ConfigError for a character that it lacks.

    noted: what the run has noted of its data. arguments: those of `text`; those of the vocabulary do not count.
    """
    options = {"step": None, "valid": 0.15, "test": 0.15, **arguments}
    notes = noted["notes"]
    if "vocabulary" not in notes:
        raise ConfigError("data.name", "the model was not trained on a text; give a table, arrays or images")
    for name in ("length", "tokens", "lower"):
        if name in notes and options.get(name, notes[name]) != notes[name]:
            raise ConfigError(f"data.{name}", f"{options[name]}, and the model was trained with {notes[name]}")
    existing = file(options.get("path"), "data.path", "a text file", "file.txt")
    check_fractions(options["valid"], options["test"])
    pieces = split_up(read(existing, "data.path"), notes["tokens"], notes["lower"])
    ends = _ends(len(pieces), options["valid"], options["test"])
    return _data(str(options["path"]), pieces, notes, ends, options["step"], options["valid"], options["test"])


def _ends(total: int, valid: float, test: float) -> tuple[int, int]:
    """Return where the training part and the validation part end."""
    held_out = total - round(total * test)
    return held_out - round(total * valid), held_out


def _data(
    path: str,
    pieces: list[str],
    notes: dict[str, Any],
    ends: tuple[int, int],
    step: int | None,
    valid: float,
    test: float,
) -> Data:
    numbers, length, kept = encode(pieces, notes, "data.path"), notes["length"], notes["vocabulary"]
    parts = dict(zip(("train", "valid", "test"), torch.tensor_split(numbers, ends), strict=True))
    shares = {"train": 1.0, "valid": valid, "test": test}
    windows = {
        part: _windows(each, length, step or length, part, len(pieces)) if shares[part] else None
        for part, each in parts.items()
    }
    assert windows["train"] is not None
    return Data(
        windows["train"],
        windows["valid"],
        windows["test"],
        task="classification",
        classes=tuple(map(label, kept)),
        notes=notes,
        report=_report(path, pieces, notes, windows, numbers),
    )


def _windows(numbers: Tensor, length: int, step: int, part: str, total: int) -> Tensors:
    """Return the windows of one part, the last of which ends with its last token or before."""
    if len(numbers) <= length:
        raise ConfigError(
            "data.length",
            f"{length} is more than the {part} part allows, which has {len(numbers):,} of the text's {total:,} tokens,"
            " and each window needs one more, the last to predict; use a smaller one, a longer text"
            + (f", or data.{part}=0" if part != "train" else ""),
        )
    count = (len(numbers) - 1 - length) // step + 1
    if count * length > MOST:
        raise ConfigError(
            "data.step",
            f"{step} makes {count:,} windows of {length} tokens, more than {MOST:,} numbers; use a larger step",
        )
    places = torch.arange(count).unsqueeze(1) * step + torch.arange(length)
    return Tensors(numbers[places], numbers[places + 1])


def _report(
    path: str, pieces: list[str], notes: dict[str, Any], windows: dict[str, Tensors | None], numbers: Tensor
) -> tuple[str, ...]:
    kept = notes["vocabulary"]
    counts = ", ".join(f"{len(each):,} {part}" for part, each in windows.items() if each is not None)
    lines = [
        f"{path}: {len(pieces):,} {notes['tokens']}, {len(kept):,} different; windows of {notes['length']}: {counts}"
    ]
    if kept[0] == UNKNOWN:
        unknown = int((numbers == 0).sum())
        lines.append(
            f"{unknown:,} of {len(pieces):,} are not in the vocabulary of {len(kept):,} and are read as {UNKNOWN}"
        )
    return tuple(lines)
