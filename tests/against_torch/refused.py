"""The table of docs/refused.md: what is refused although torch trains it."""

import re
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "refused.md"


@cache
def table() -> dict[str, str]:
    """What a message holds -> what is refused."""
    rows = [line.strip().strip("|").split("|") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    found = {}
    for what, words, *_ in rows[1:]:
        for part in re.findall(r"`([^`]+)`", words):
            found[part] = what.strip()
    return found


def reason(message: str) -> str | None:
    """The row that a message belongs to; None where the docs have none."""
    return next((what for words, what in table().items() if words in message), None)
