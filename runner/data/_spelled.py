"""Values as a command line takes them: quoted for Hydra's grammar, and the word quoted for the shell."""

import re
import shlex
from typing import Any

#: Read by Hydra as something else than text.
_WORDS = ("true", "false", "null", "nan", "inf", "on", "off", "yes", "no")


def spelled(key: str, value: Any) -> str:
    """`key=value` to paste into a shell. value: a text, or lists and mappings of texts.

    spelled("data.target", "length (cm)") is 'data.target="length (cm)"', with the outer quotes.
    """
    return shlex.quote(f"{key}={_hydra(value)}")


def _hydra(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_hydra(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) and value.lower() not in _WORDS:
        return str(value)
    if re.fullmatch(r"0|[1-9]\d*", value, re.ASCII):  # a column may be called 2; Hydra reads a number
        return str(value)
    # Hydra takes a backslash for one only where a quote follows, and ${...} for a reference.
    text = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], value)
    return '"' + text.replace("${", "\\${") + '"'
