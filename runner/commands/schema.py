"""The JSON schema of the configuration, for editors: `runner schema > schema.json`."""

import json

from runner.context import Context
from runner.settings import Settings


def with_settings(settings: Settings, context: Context) -> int:
    """Print the schema, made from the dataclasses and the signatures of the torch that is installed."""
    from runner.schema import schema

    print(json.dumps(schema(), indent=1))
    return 0
