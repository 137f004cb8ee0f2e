"""Secrets kept out of what is recorded and printed: passwords in URIs, values of keys with a secret's name."""

import contextlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MASK = "***"

#: Keys whose name ends so hold a secret, whatever stands before: `dbpassword`, `PGPASSWORD`, `auth_token`, `x-api-key`.
_KEYS = "api|access|account|auth|encryption|hmac|license|master|private|secret|service|shared|signing|ssh|storage"
_WORDS = (
    rf"pass(?:[_\-]?word|wd|phrase|code|wort)s?|pwd|secrets?|token|creds|credentials?|(?:{_KEYS})[_\-]?keys?|authorization"
    r"|cookie|bearer|oauth|session[_\-]?id|pin[_\-]?code|(?:redis|npm|redis[_\-]?cli)[_\-]?auth|(?:[_\-]|user|db)pw"
    r"|(?:db|user|smtp|ftp|mail|login|admin|root|ssh)[_\-]?pass|(?<![^\W_])(?:pat|jwt)|(?<![\w\-])pass"
)
_END = rf"(?:{_WORDS})(?:[_\-]?[0-9]+)?"
_NAME = re.compile(rf"{_END}$", re.IGNORECASE)
#: Words of a vocabulary that models of language have.
_FRIEND = re.compile(r"(?:bos|class|cls|end|eos|mask|pad|sep|special|start|stop|unk)[_\-]?token$", re.IGNORECASE)
#: Variables of a shell that only sound like it: the working directory and the one before.
_SHELL = ("PWD", "OLDPWD")
#: Characters that a value must have for it to be looked for elsewhere: a shorter one is a part of many words.
SHORTEST = 6

#: Characters of a text up to which what becomes of it is remembered: the jobs of a sweep have most words in common.
SHORT = 200

#: `user:password@` and `token@` of a URI; a password that is not quoted may hold a slash, and more than one @.
_URI = re.compile(r"(?<=://)(?:[^/\s@:'\"]*:(?!\d+(?:[/?#\s'\"]|$))[^\s'\"]{0,4096}@|[^/\s'\"?#]{1,4096}@)")
#: A value that is one URI with a user in it.
_WHOLE = re.compile(r"[a-z][a-z0-9+.\-]*://[^/:]*:(?!\d+(?:/|$))[^@]*@", re.IGNORECASE)
#: What signs a URI: `?sig=...` of Azure, `X-Amz-Signature=...` of S3, `?key=...` of others.
_QUERY = re.compile(r"(?P<key>[?&;](?:sig|signature|key|x-amz-[a-z\-]+)=)[^&\s'\"#;]+", re.IGNORECASE)
#: `Authorization: Basic ...` and `Bearer ...`, of which the scheme is no secret.
_HEADER = re.compile(
    r"(?P<key>authorization['\"]?[ ]*[=:][ ]*['\"]?)(?:(?:basic|bearer|digest|token)\s+)?[^\s'\",}]+", re.IGNORECASE
)
_BEARER = re.compile(r"(?P<key>\bbearer\s+)(?=\S*[0-9._])[\w\-.~+/]{6,}=*", re.IGNORECASE)
#: `Password=my word;` of a connection string: spaces belong to it.
_CONNECTION = re.compile(rf"(?P<key>(?:{_END})\s*=\s*)(?!['\"])[^;'\"\n=]+(?=;)", re.IGNORECASE)
_LAST = re.compile(rf"(?P<key>;\s*[\w\-]*(?:{_END})\s*=\s*)(?!['\"])[^;'\"\n]+", re.IGNORECASE)
#: `'password=my word'`, as a shell's words are quoted.
_WORD = re.compile(
    rf"(?P<quote>['\"])(?P<key>[+~]{{0,2}}[\w.\-]*(?:{_END})=)(?P<value>[^'\"\n]+)(?P=quote)", re.IGNORECASE
)
#: A key of YAML with the lines below it.
_BLOCK = re.compile(
    rf"^(?P<indent>[ ]*)(?P<key>['\"]?[\w.\-]*(?:{_END})['\"]?:)[ ]*\n"
    r"(?P<lines>(?:(?P=indent)(?:[ ]+\S|-[ ]).*(?:\n|$))+)",
    re.IGNORECASE | re.MULTILINE,
)
#: Tokens that are recognized by their form: of GitHub, GitLab, Hugging Face, Slack, AWS, OpenAI.
_TOKEN = re.compile(
    r"\b(?:gh[opsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{20,}|hf_[A-Za-z0-9]{20,}|xox[abprs]-[\w\-]{10,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|sk-(?:[A-Za-z0-9]{20,}|(?:proj|ant|or|svcacct)-[\w\-]{20,}))"
)
#: `curl -u me:word` and `psql --password word`.
_OPTION = re.compile(
    r"(?P<key>\bcurl\b[^\n|;]*?\s(?:-u|--user)[ =]?[^\s:'\"]+:)[^\s'\"]+|(?P<name>--password\s+)(?!-)[^\s'\"]+"
)
_BARE = r"[^\s&'\",;}\])]+"
_VALUE = rf"(?:\"[^\"\n]+\"?|'[^'\n]+'?|{_BARE})"
#: `?password=x` of a URI, `key=value` and `key=value,value` of a command line and `key: value` of YAML.
_PAIR = re.compile(
    rf"(?P<key>(?:{_END}))(?P<is>['\"]?\s*[=:]\s*)"
    rf"(?P<value>{_VALUE}(?:,(?!['\"]?[\w.\-]+['\"]?\s*[=:]){_VALUE})*)",
    re.IGNORECASE,
)

#: What every form above has in it.
_FORM = re.compile(r"[=:@]|bearer|--password", re.IGNORECASE)

_known: set[str] = set()


@lru_cache(maxsize=10_000)
def is_secret(name: str) -> bool:
    """Return whether a key's name shows that its value is a secret."""
    return _NAME.search(name) is not None and _FRIEND.search(name) is None


def masked(text: str) -> str:
    """Return `text` without what its own form shows to be secret, and without values that are secret elsewhere.

    The form: passwords in URIs, `password=...`, headers, connection strings. Elsewhere: environment variables that are
    called secret, and values under such keys in the configurations that this process has read.
    """
    known = _from_environment() if _steady is None else _steady
    values = tuple(sorted({*known, *_known}, key=lambda value: (-len(value), value)))
    return _short(text, values) if len(text) <= SHORT else _without_values(text, values)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Read the environment once for a block in which nobody changes it: that takes longer than to mask."""
    global _steady
    before, _steady = _steady, _from_environment()
    try:
        yield
    finally:
        _steady = before


_steady: list[str] | None = None


def _without_values(text: str, values: tuple[str, ...]) -> str:
    """Mask values, the longest first, and what the form of the text shows."""
    for value in values:
        text = text.replace(value, MASK)
    text = _TOKEN.sub(MASK, text)
    if _FORM.search(text) is None:  # most texts
        return text
    text = _OPTION.sub(rf"\g<key>\g<name>{MASK}", text)
    text = _URI.sub(f"{MASK}@", text)
    for form in (_HEADER, _BEARER, _QUERY):
        text = form.sub(rf"\g<key>{MASK}", text)
    text = _BLOCK.sub(_block, text)
    text = _WORD.sub(_hidden, text)
    if ";" in text:
        text = _LAST.sub(_hidden, _CONNECTION.sub(_hidden, text))
    return _PAIR.sub(_pair, text)


_short = lru_cache(maxsize=10_000)(_without_values)


def word(text: str) -> str:
    """Mask an override: of a secret key all of the value, with spaces and quotes."""
    key, equals, value = text.partition("=")
    return f"{key}={MASK}" if equals and is_secret(key) and value not in _PLAIN else masked(text)


def learn(value: Any, name: str = "") -> None:
    """Mask the secrets of plain values from here on, wherever this process writes or prints them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            learn(inner, name if is_secret(name) else str(key))
    elif isinstance(value, list):
        for inner in value:
            learn(inner, name)
    elif isinstance(value, str) and len(value) >= SHORTEST and MASK not in value and is_secret(name):
        _known.add(value)


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Forget after a block what it has learned: a value that one command hides is a plain word in the next."""
    before = set(_known)
    try:
        yield
    finally:
        _known.intersection_update(before)


def masked_uri(uri: str) -> str:
    """Return what is, or was meant as, a URI without secrets: all before its last @ is masked."""
    text = masked(uri)
    start = text.find("://") + 3 if "://" in text else 0
    end = text.rfind("@")
    return text if end < start else f"{text[:start]}{MASK}{text[end:]}"


def without(value: Any, name: str = "") -> Any:
    """Return a copy of plain values in which secrets are masked, with all that is below a key with a secret's name."""
    secret = is_secret(name)
    if isinstance(value, dict):
        pair = "value" in value and is_secret(str(value.get("name") or value.get("key") or ""))
        names = {key: "secret" if pair and key == "value" else name if secret else str(key) for key in value}
        return {key: without(inner, names[key]) for key, inner in value.items()}
    if isinstance(value, list):
        return [without(one, name) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):  # a token in numbers is a count
        return MASK if secret and not name.lower().endswith("token") else value
    if isinstance(value, str):
        if value and secret:
            return MASK
        return masked_uri(value) if _WHOLE.match(value) else masked(value)
    return value


def filled(value: Any, typed: Any, name: str = "") -> Any:
    """Return `value` with the secrets that `without` has removed, as far as they are in `typed`."""
    if isinstance(value, dict) and isinstance(typed, dict):
        return {k: filled(v, typed.get(k), name if is_secret(name) else str(k)) for k, v in value.items()}
    if isinstance(value, list) and isinstance(typed, list) and len(value) == len(typed):
        return [filled(one, other, name) for one, other in zip(value, typed, strict=True)]
    return typed if _is_taken(value) and without(typed, name) == value else value


def missing(value: Any, key: str = "") -> str:
    """Return the dotted key of the first secret that was removed from `value`; "" if none was."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    keys = (missing(one, f"{key}.{name}" if key else str(name)) for name, one in inner)
    return key if _is_taken(value) else next((one for one in keys if one), "")


def _is_taken(value: Any) -> bool:
    return isinstance(value, str) and MASK in value


#: Values that hide nothing.
_PLAIN = ("null", "None", "true", "false", "")


def _pair(match: re.Match[str]) -> str:
    key, value = match["key"], match["value"]
    is_count = key.lower().endswith("token") and re.fullmatch(r"[0-9.]+", value)
    if value.strip("'\"") in _PLAIN or is_count or not is_secret(_before(match) + key):
        return match[0]
    quote = value[0] if value[0] in "'\"" and value[-1] == value[0] else ""
    return f"{key}{match['is']}{quote}{MASK}{quote}"


def _before(match: re.Match[str]) -> str:
    """Return the beginning of a key. A pattern that began with it would take minutes for a long text."""
    return re.split(r"[^\w.\-]", match.string[max(match.start() - 64, 0) : match.start()])[-1]


def _hidden(match: re.Match[str]) -> str:
    quote = match.groupdict().get("quote", "")
    return f"{quote}{match['key']}{MASK}{quote}" if is_secret(_before(match) + match["key"].rstrip("= ")) else match[0]


def _block(match: re.Match[str]) -> str:
    if not is_secret(match["key"].strip("'\":")):
        return match[0]
    lines = [re.sub(r"\S.*", MASK, line) for line in match["lines"].splitlines()]
    return "\n".join([match["indent"] + match["key"], *lines]) + ("\n" if match["lines"].endswith("\n") else "")


def _from_environment() -> list[str]:
    named = [name for name in os.environ if name not in _SHELL and is_secret(name)]
    return [value for name in named if len(value := os.environ.get(name, "")) >= SHORTEST]
