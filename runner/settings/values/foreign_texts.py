"""Messages of Hydra and OmegaConf that hold what no type and no field of their errors does: a name, a file.

Everything else is read from types and fields. `tests/cli/test_foreign_texts.py` provokes each of these errors on the
installed release, so that a text which a release words anew is noticed there.
"""

import re

PATTERNS = {
    # OmegaConf: errors of a reference; their key is the one that refers.
    "unknown resolver": re.compile(r"Unsupported interpolation type (\S+)"),
    "unknown key in a reference": re.compile(r"Interpolation key '([^']+)' not found"),
    "reference to itself": re.compile(r"(Recursive interpolation|Interpolation to parent node) detected"),
    # Hydra: errors of composing, all of one type.
    "file": re.compile(r"In '([^']+)': "),
    "added twice": re.compile(r"Could not append to config. An item is already at '([^']+)'"),
    "nothing to remove": re.compile(r"Could not delete from config. '([^']+)' does not exist"),
    "chosen twice": re.compile(r"Multiple values for (\S+?)\."),
    "chosen twice in a file": re.compile(r"(\S+) appears more than once"),
    "unknown group": re.compile(r".*Could not override '(\S+)'. No match in the defaults list"),
    "group not chosen": re.compile(r".*Could not override '(\S+)'"),
    "_self_ twice": re.compile(r"Duplicate _self_ defined in (\S+)"),
}


def name_in(text: str, case: str) -> str:
    """Return the name that a message of this case holds; "" if it is no message of this case."""
    match = PATTERNS[case].match(text)
    return match[1] if match else ""
