"""The command `schema`: the JSON schema of the configuration, for editors: `runner schema > schema.json`."""

import json
import sys

from runner.settings import Settings
from runner.settings.context import Context


def with_settings(settings: Settings, context: Context) -> int:
    """Print the schema, made of the dataclasses and of the signatures of the installed torch."""
    from runner.training.checking.schema import schema

    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")  # ASCII; it quotes no file
    return 0
