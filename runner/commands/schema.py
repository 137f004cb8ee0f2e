"""The command `schema`: JSON schemas, for editors and for programs: `runner schema > schema.json`."""

import json
import sys
from typing import Any

from runner.commands._result import Result
from runner.settings.errors import ConfigError, did_you_mean

OF = ("configuration", "results")


def with_words(of: str = "configuration") -> Result:
    """Print the schema of the configuration, or that of what commands print with --json.

    of: configuration, made of the dataclasses and of the signatures of the installed torch; or results.
    """
    if of not in OF:
        raise ConfigError("", f"{of!r} is not one of {', '.join(OF)}{did_you_mean(of, OF)}")
    found = _schema(of)
    text = json.dumps(found, indent=1) + "\n"  # ASCII; it quotes no file
    return Result({"of": of, "schema": found}, lambda: sys.stdout.write(text))


def _schema(of: str) -> dict[str, Any]:
    if of == "results":
        from runner.commands import _answers

        return _answers.schema()
    from runner.training.checking.schema import schema

    return schema()
