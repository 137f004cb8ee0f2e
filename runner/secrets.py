"""Secrets kept out of what is recorded and printed: passwords in URIs, values of keys that are called secret."""

import contextlib
import logging
import os
import re
from typing import Any

MASK = "***"

_WORDS = "token|password|passwd|passphrase|secret|credentials?|api_?key|access_?key|private_?key"
_NAME = re.compile(rf"(?:^|[_.\-])(?:{_WORDS})$", re.IGNORECASE)
#: `user:password@` and `token@` of a URI; a password that is not quoted may hold a slash, and more than one @.
_URI = re.compile(r"(?<=://)(?:[^/\s@:'\"]*:(?!\d+(?:[/?#\s'\"]|$))[^\s'\"]*@|[^/\s'\"?#]+@)")
#: A value that is one URI with a user in it.
_WHOLE = re.compile(r"[a-z][a-z0-9+.\-]*://[^/]*:(?!\d+(?:/|$))[^@]*@", re.IGNORECASE)
_VALUE = r"[^\s&'\",;}\])]+"
#: `?password=x` of a URI, `key=value` and `key=value,value` of a command line and `key: value` of YAML.
_PAIR = re.compile(
    rf"(?<![\w\-])(?P<key>(?:[\w.\-]*[_.\-])?(?:{_WORDS}))(?P<is>['\"]?\s*[=:]\s*['\"]?)"
    rf"(?P<value>{_VALUE}(?:['\"]?,(?!['\"]?[\w.\-]+['\"]?\s*[=:])['\"]?{_VALUE})*)",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Whether a key's own name says that its value is nobody's business."""
    return bool(_NAME.search(name))


def masked(text: str) -> str:
    """`text` without passwords in URIs, `password=...`, and values of environment variables that are called secret."""
    for value in _from_environment():
        text = text.replace(value, MASK)
    return _PAIR.sub(_pair, _URI.sub(f"{MASK}@", text))


def masked_uri(uri: str) -> str:
    """The same for what is known to be a URI, or was meant to be one: all before its last @ is masked."""
    return re.sub(r"(?:(?<=://)|^(?!.*://)).*@", f"{MASK}@", masked(uri), flags=re.DOTALL)


def without(value: Any, name: str = "") -> Any:
    """A copy of plain values in which secrets are masked."""
    if isinstance(value, dict):
        return {k: without(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [without(v, name) for v in value]
    if isinstance(value, str):
        if value and is_secret(name):
            return MASK
        return masked_uri(value) if _WHOLE.match(value) else masked(value)
    return value


def filled(value: Any, typed: Any, name: str = "") -> Any:
    """`value` with the secrets that `without` has taken from it, as far as they are in `typed`."""
    if isinstance(value, dict) and isinstance(typed, dict):
        return {k: filled(v, typed.get(k), str(k)) for k, v in value.items()}
    if isinstance(value, list) and isinstance(typed, list) and len(value) == len(typed):
        return [filled(one, other, name) for one, other in zip(value, typed, strict=True)]
    return typed if _is_taken(value) and without(typed, name) == value else value


def missing(value: Any, key: str = "") -> str:
    """The dotted key of the first secret that was taken from `value`; "" if none was."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = (missing(one, f"{key}.{name}" if key else str(name)) for name, one in inner)
    return key if _is_taken(value) else next((one for one in found if one), "")


def mask_logs() -> None:
    """From here on whatever is logged, by Hydra or MLflow too, is logged without secrets."""
    make = logging.getLogRecordFactory()

    def record(*given: Any, **named: Any) -> logging.LogRecord:
        made = make(*given, **named)
        with contextlib.suppress(Exception):  # a message that does not fit its arguments is told by logging itself
            made.msg, made.args = masked(made.getMessage()), ()
        return made

    logging.setLogRecordFactory(record)


def _is_taken(value: Any) -> bool:
    return isinstance(value, str) and MASK in value


def _pair(found: re.Match[str]) -> str:
    return found[0] if found["value"] in ("null", "None", "true", "false") else f"{found['key']}{found['is']}{MASK}"


def _from_environment() -> list[str]:
    found = [value for name, value in os.environ.items() if is_secret(name) and len(value) >= 6]
    return sorted(found, key=len, reverse=True)
