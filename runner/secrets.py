"""Secrets kept out of what is recorded and printed: passwords in URIs, values of keys that are called secret."""

import os
import re
from typing import Any

MASK = "***"

_NAME = re.compile(
    r"(?:^|[_.\-])(?:token|password|passwd|passphrase|secret|credentials?|api_?key|access_?key|private_?key)$",
    re.IGNORECASE,
)
#: `user:password@` and `token@` of a URI.
_URI = re.compile(r"(?<=://)[^/\s'\"?#]+@")
#: `?password=x` of a URI, `key=value` of a command line and `key: value` of YAML.
_PAIR = re.compile(r"(?P<key>[\w.\-]+)(?P<is>['\"]?\s*[=:]\s*['\"]?)(?P<value>[^\s&'\",;}\])]+)")


def is_secret(name: str) -> bool:
    """Whether a key's own name says that its value is nobody's business."""
    return bool(_NAME.search(name))


def masked(text: str) -> str:
    """`text` without passwords in URIs, `password=...`, and values of environment variables that are called secret."""
    for value in _from_environment():
        text = text.replace(value, MASK)
    return _PAIR.sub(_pair, _URI.sub(f"{MASK}@", text))


def without(value: Any, name: str = "") -> Any:
    """A copy of plain values in which secrets are masked."""
    if isinstance(value, dict):
        return {k: without(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [without(v, name) for v in value]
    if isinstance(value, str):
        return MASK if value and is_secret(name) else masked(value)
    return value


def _pair(found: re.Match[str]) -> str:
    plain = not is_secret(found["key"]) or found["value"] in ("null", "None", "true", "false", MASK)
    return found[0] if plain else f"{found['key']}{found['is']}{MASK}"


def _from_environment() -> list[str]:
    found = [value for name, value in os.environ.items() if is_secret(name) and len(value) >= 6]
    return sorted(found, key=len, reverse=True)
