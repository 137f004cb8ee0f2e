"""The answers to a shell that completes a command line: fast, silent, and without torch, Hydra or MLflow."""

import contextlib
import sys

#: Ends of a word that goes on: no space follows.
OPEN = ("=", ".", "/")
#: Kinds of bash's completion that insert one candidate after the other, so that no descriptions may follow them.
INSERTING = ("37", "42")


def main(words: list[str]) -> None:
    """Print candidates for a shell, one a line; nothing at all where anything fails.

    words: `bash LINE BREAKS TYPE COLUMNS`, or `zsh WORD ... CURRENT` and `fish WORD ... CURRENT`, without `runner`.
    """
    with contextlib.suppress(BaseException):  # a shell that is typed into must see no message
        lines = _bash(*words[1:]) if words[0] == "bash" else _others(words[1:])
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _others(words: list[str]) -> list[str]:
    """Return candidates with descriptions behind a tab."""
    from runner.cli.completion.candidates import candidates

    return [f"{text}\t{meaning}" if meaning else text for text, meaning in candidates(words[:-1], words[-1])]


def _bash(line: str, breaks: str, kind: str, columns: str) -> list[str]:
    """Return what bash puts into COMPREPLY: of each candidate what replaces the part behind the last break.

    Of several, which bash lists, the description stands beside each.
    """
    from runner.cli.completion.candidates import candidates

    words = split(line)
    at = next((n for n, word in enumerate(words) if "=" not in word), 0)  # behind `VARIABLE=value`
    current = words[-1]
    cut = max((current.rfind(one) for one in breaks if one not in " \t\n\"'"), default=-1) + 1
    found = [(text[cut:], meaning) for text, meaning in candidates(words[at + 1 : -1], current)]
    if len(found) == 1:
        return [text if text.endswith(OPEN) else f"{text} " for text, _ in found]
    if kind in INSERTING:
        return [text for text, _ in found]
    width = max((len(text) for text, _ in found), default=0)
    room = max(int(columns) - width - 6, 0)
    return [f"{text:<{width}}  ({short(meaning, room)})" if meaning and room > 9 else text for text, meaning in found]


def short(text: str, room: int) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= room else f"{text[: room - 3]}..."


def split(line: str) -> list[str]:
    """Return the words of an unfinished command line, the last as far as it is typed, without quotes."""
    words, quote, escaped, inside = [""], "", False, False
    for one in line:
        if escaped:
            words[-1], escaped = words[-1] + one, False
        elif one == "\\" and quote != "'":
            escaped = inside = True
        elif quote:
            quote, words[-1] = ("", words[-1]) if one == quote else (quote, words[-1] + one)
        elif one in "'\"":
            quote, inside = one, True
        elif one.isspace():
            words, inside = ([*words, ""] if inside or words[-1] else words), False
        else:
            words[-1] += one
    return words
