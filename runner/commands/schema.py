"""The JSON schema of the configuration, for editors: `runner schema > schema.json`."""

import json
import sys

from runner.settings import Settings
from runner.settings.context import Context


def with_settings(settings: Settings, context: Context) -> int:
    """Print the schema, made from the dataclasses and the signatures of the torch that is installed."""
    from runner.training.checking.schema import schema

    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")  # ASCII, and of no file
    return 0
