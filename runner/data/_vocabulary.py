"""Tokens of a text, characters or words, and their numbers in a vocabulary."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.settings.errors import ConfigError

#: Stands for all tokens that a limited vocabulary lacks; no word or character that a text is split into is equal to it.
UNKNOWN = "<unknown>"
#: Different tokens. Each becomes a class with a name in the run's record.
MOST = 100_000

_WORD = re.compile(r"\w+|[^\w\s]")


def read(place: Path, key: str) -> str:
    """Return the text of a file in UTF-8, its lines ended by newlines. Raises ConfigError for another file.

    key: of the configuration, for messages.
    """
    try:
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            key, f"{str(place)!r} is not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    if not text.strip():
        raise ConfigError(key, f"{str(place)!r} holds no text; expected some to train on")
    return text


def split_up(text: str, tokens: str, lower: bool) -> list[str]:
    """Return the tokens of a text. tokens: "characters" or "words". lower: read all letters as small ones."""
    text = text.lower() if lower else text
    return list(text) if tokens == "characters" else _WORD.findall(text)


def most_frequent(pieces: list[str], counted: list[str], most: int | None) -> list[str]:
    """Return the vocabulary of tokens: all that occur, sorted; or UNKNOWN, then the `most - 1` most frequent, sorted.

    counted: the tokens among which frequency counts.
    Raises ConfigError for too few or too many.
    """
    if most is not None and most < 2:
        raise ConfigError("data.vocabulary", f"{most} is too few; expected at least 2: one token, and the unknown")
    if most is None:
        kept = sorted(set(pieces))
        if len(kept) > MOST:
            raise ConfigError(
                "data.vocabulary",
                f"the text has {len(kept):,} different tokens, more than {MOST:,}; keep the most frequent, e.g."
                " data.vocabulary=10000",
            )
        if len(kept) < 2:
            raise ConfigError("data.path", "the text has one token only; expected at least two to tell apart")
        return kept
    if most > MOST:
        raise ConfigError("data.vocabulary", f"{most:,} is more than {MOST:,}")
    ranked = sorted(Counter(counted).items(), key=lambda item: (-item[1], item[0]))
    return [UNKNOWN, *sorted(token for token, _ in ranked[: most - 1])]


def encode(pieces: list[str], notes: dict[str, Any], key: str) -> Tensor:
    """Return the numbers of tokens, int64 of shape (tokens,).

    notes: of the `Data` of the text that the model was trained on. key: of the configuration, for messages.
    Raises ConfigError for a token that the vocabulary lacks, where none of it stands for unknown ones.
    """
    index = {token: number for number, token in enumerate(notes["vocabulary"])}
    unknown = index.get(UNKNOWN)
    if unknown is None and (strange := next((piece for piece in pieces if piece not in index), None)) is not None:
        raise ConfigError(
            key,
            f"the text holds {strange!r}, which is not in the vocabulary of {len(index):,} tokens that the model was"
            " trained with; replace it, or train with data.vocabulary=N, which reads such tokens as unknown",
        )
    return torch.tensor([index.get(piece, unknown) for piece in pieces], dtype=torch.int64)


def decode(numbers: Tensor, notes: dict[str, Any]) -> str:
    """Return the text of tokens' numbers: characters in a row, or words with a space between.

    numbers: int64 of shape (tokens,). notes: as in `encode`.
    """
    between = "" if notes["tokens"] == "characters" else " "
    return between.join(notes["vocabulary"][number] for number in numbers.tolist())


def label(token: str) -> str:
    """Return the name of a token as a class: itself, or what Python writes for it where nothing would be seen."""
    return token if token.isprintable() and token.strip() else repr(token)
