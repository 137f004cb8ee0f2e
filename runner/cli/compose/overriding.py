"""Single overrides as Hydra's grammar reads them."""

import contextlib

from hydra.core.override_parser.overrides_parser import OverridesParser


def quoted(word: str) -> str:
    """Return key=value with the value in quotes, if Hydra cannot read it without."""
    key, _, value = word.partition("=")
    parser = OverridesParser.create()
    for attempt in (word, f'{key}="{value}"', f"{key}='{value}'"):
        with contextlib.suppress(Exception):
            parser.parse_override(attempt)
            return attempt
    return word
